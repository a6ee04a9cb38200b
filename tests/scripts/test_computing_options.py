"""--devices, --precision, --ops and --debug mean the same in every program that computes."""

import importlib

import pytest

from dnnlib.cli import ArgumentParser

NAMES = ("--devices", "--precision", "--ops", "--debug")


def describe(parser: ArgumentParser) -> dict:
    actions = {name: action for action in parser._actions for name in action.option_strings}
    facts = ("default", "choices", "help")
    return {name: [getattr(actions[name], fact) for fact in facts] for name in NAMES}


@pytest.mark.parametrize("program", ["train", "generate", "evaluate", "bench"])
def test_same_options_everywhere(program):
    expected = ArgumentParser()
    expected.add_computing_options()
    parser = importlib.import_module(f"scripts.{program}").make_parser()
    assert describe(parser) == describe(expected)
