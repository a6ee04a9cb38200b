"""What all command-line programs have: strict arguments, one-line errors, exit statuses."""

import argparse
import errno
import itertools
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from dnnlib.errors import UserError, suggest
from dnnlib.memory import is_out_of_memory


class ArgumentParser(argparse.ArgumentParser):
    """argparse with defaults in --help, no abbreviations, and a hint for misspelt options."""

    def __init__(self, **options):
        super().__init__(
            formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False, **options
        )
        # Sub-parsers are made from the same class; one --debug at the end of any of them is enough.
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def add_computing_options(self) -> None:
        """Add --devices, --precision and --ops, see dnnlib.computing.ComputingOptions."""
        self.add_argument(
            "--devices",
            default="auto",
            help="auto (all GPUs, or the CPU), cpu, cpu:N (N virtual devices), gpu or gpu:0,1",
        )
        self.add_argument(
            "--precision",
            default="float32",
            choices=["float32", "bfloat16", "mixed_float16"],
            help="type of the feature maps; everything else is float32",
        )
        self.add_argument(
            "--ops",
            default="auto",
            choices=["auto", "native", "reference"],
            help="native kernels, plain TensorFlow (reference), or native ones where they work",
        )
        self.add_argument(
            "--tf32",
            default="on",
            choices=["on", "off"],
            help="on: GPUs that can multiply float32 in TensorFloat-32 (10 bits) do so",
        )

    def add_network(self) -> None:
        """Add --network: which generator of a model is used."""
        self.add_argument(
            "--network", default="Gs", choices=["Gs", "G"], help="moving average, or last weights"
        )

    def add_xla(self) -> None:
        """Add --xla."""
        self.add_argument(
            "--xla", action="store_true", help="let XLA compile what it can; GPUs only"
        )

    def refuse_without_effect(
        self, options: argparse.Namespace, names: Sequence[str], reason: str
    ) -> None:
        """Raise UserError if an option that has no effect here has another value than its default.

        names: of attributes of `options`. reason: why they have no effect: "without --grid".
        """
        for action in self._actions:
            if action.dest in names and getattr(options, action.dest) != action.default:
                flag = action.option_strings[0]
                self.error(f"{flag} has no effect {reason}; leave it out")

    def add_assignments(self, example: str) -> None:
        """Add --set, whose values are collected as `assignments`."""
        self.add_argument(
            "--set",
            dest="assignments",
            nargs="+",
            action="extend",
            default=[],
            metavar="NAME=VALUE",
            help=f"change options of the configuration, such as {example}",
        )

    def parse_args(self, args: Sequence[str] | None = None, namespace=None):
        args = sys.argv[1:] if args is None else list(args)
        try:
            parsed, unknown = self.parse_known_args(args, namespace)
        except UserError:
            # Other errors may be consequences: the value of an unknown option looks like a command.
            self._refuse(self._unknown_options(args))
            raise
        self._refuse(unknown)
        return parsed

    def _refuse(self, unknown: Sequence[str]) -> None:
        for argument in unknown:
            name = argument.split("=")[0]
            self.error(f"unknown argument {name}{suggest(name, self._known_options())}")

    def _unknown_options(self, arguments: Sequence[str]) -> list[str]:
        """Return the long options among `arguments` that neither program nor commands have."""
        known = self._known_options()
        options = itertools.takewhile(lambda argument: argument != "--", arguments)
        names = [argument.split("=")[0] for argument in options if argument.startswith("--")]
        # What has a space in it is a value for argparse.
        return [name for name in names if " " not in name and name not in known]

    def _known_options(self) -> list[str]:
        options = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    options += parser._known_options()
        return options

    def error(self, message: str):
        message = re.sub(r"^argument (\S+): (?=.*: use )", r"\1 ", message)  # see dnnlib.numbers
        raise UserError(f"{self.prog}: {message} (see {self.prog} --help)")


def run(main: Callable[[Sequence[str]], None], arguments: Sequence[str] | None = None) -> int:
    """Run `main(arguments)` and return its exit status.

    0: done. 2: something the user can put right, in one line. 130: Ctrl-C. Any other exception
    is a fault of ours, whose traceback is shown (status 1). It does not leave this function: what
    its frames hold would live until Python ends, and a reader of images can then keep it from that.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files may be any bytes, terminals strict
            stream.reconfigure(errors="backslashreplace")
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # so while a script imports
            signal.signal(signal.SIGINT, signal.default_int_handler)
        main(arguments)
    except UserError as error:
        return _fail(str(error), arguments)
    except BrokenPipeError:  # what reads our output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        has_remedy = isinstance(error, OSError) and error.errno in _REMEDIES
        if has_remedy or isinstance(error, FileNotFoundError):
            return _fail(_describe(error), arguments)
        if is_out_of_memory(error):
            return _fail(_OUT_OF_MEMORY, arguments)
        traceback.print_exc()
        return 1
    return 0


_OUT_OF_MEMORY = (
    "the memory of the device is full; end other programs that use it (nvidia-smi shows those on "
    "GPUs), or try --precision bfloat16 or --devices cpu where the program has these options"
)


_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EACCES: "no permission; choose another place or change its permissions",
    errno.EPERM: "no permission; choose another place or change its permissions",
    errno.EROFS: "this file system is read-only; choose another place",
    errno.ENOENT: "no such file or directory; check the path",
    errno.ENOTDIR: "a part of this path is a file, not a directory; choose another place",
    errno.EEXIST: "a file of this name is in the way; choose another place",
    errno.ENAMETOOLONG: "this name is too long; choose a shorter one",
    errno.EISDIR: "this is a directory; a file is needed",
}


def _describe(error: OSError) -> str:
    if error.errno is None:  # raised by a library, with a text of its own
        return str(error) or _REMEDIES[errno.ENOENT]
    remedy = _REMEDIES.get(error.errno, error.strerror)
    return f"{error.filename}: {remedy}" if error.filename else remedy


def _fail(message: str, arguments: Sequence[str]) -> int:
    if "--debug" in arguments:
        traceback.print_exc()
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2
