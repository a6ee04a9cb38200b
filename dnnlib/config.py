"""Frozen dataclasses from untyped data (YAML, JSON), strictly: nothing is ignored or guessed."""

import dataclasses
import math
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from dnnlib.errors import UserError, suggest

Config = TypeVar("Config")


def from_mapping(cls: type[Config], data: Mapping[str, Any], *, path: str = "") -> Config:
    """Build the dataclass `cls` from `data`, nested dataclasses included.

    `path` is where `data` stands in the whole configuration, for messages. A class may have an
    attribute RENAMED, {old name: new name}: an old name goes on working, with one line about it.
    A field's type may name a range: Annotated[int, WholeNumber(1)], see dnnlib.numbers.
    Raises UserError for an unknown key (with the nearest name), a missing one, a wrong type or a
    number outside its range; nan and infinity are never numbers.
    """
    if not isinstance(data, Mapping):
        raise UserError(f"option {path or 'configuration'}: expected a mapping, got {data!r}")
    data = _with_new_names(getattr(cls, "RENAMED", {}), data, path)
    hints = typing.get_type_hints(cls, include_extras=True)
    names = [field.name for field in dataclasses.fields(cls)]
    for key in data:
        if key not in names:
            hint = _suggest_option(cls, str(key)) or suggest(str(key), names)
            raise UserError(f'unknown option "{_join(path, key)}"{hint}')
    values = {key: _convert(hints[key], data[key], _join(path, key)) for key in data}
    try:
        return cls(**values)
    except TypeError as error:
        raise UserError(f"option {path or 'configuration'}: {error}") from error


def flatten(options: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Return nested options under names such as training.gamma, see `to_mapping`."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        nested = isinstance(value, dict)
        flat |= flatten(value, f"{path}{name}.") if nested else {f"{path}{name}": value}
    return flat


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds."""
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold options, not {data!r}")
    return data


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a configuration dataclass as plain nested dicts and lists, ready for YAML or JSON."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def set_option(data: dict[str, Any], assignment: str, cls: type | None = None) -> None:
    """Apply `a.b=value` (the value in YAML notation) to the nested mapping `data`, in place.

    cls: the dataclass that `data` is for; the value then also replaces one under another name of
    the same option, see RENAMED.
    """
    import yaml

    name, separator, text = assignment.partition("=")
    if not separator or not name:
        raise UserError(
            f'--set {assignment}: expected NAME=VALUE, such as "training.batch_size=16"'
        )
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"--set {assignment}: the value is no valid YAML") from error
    *parents, last = name.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise UserError(f'--set {assignment}: "{parent}" has no options of its own')
        cls = typing.get_type_hints(cls).get(parent) if cls else None
    for old, new in getattr(cls, "RENAMED", {}).items():
        if last in (old, new):
            data.pop(old, None)
            data.pop(new, None)
    data[last] = value


_announced: set[str] = set()  # old names that this process has said something about


def _with_new_names(renamed: Mapping[str, str], data: Mapping[str, Any], path: str) -> dict:
    result = dict(data)
    for old in [key for key in data if key in renamed]:
        name, new_name = _join(path, old), _join(path, renamed[old])
        if renamed[old] in data:
            raise UserError(f"option {name} is the old name of {new_name}; give the new one only")
        result[renamed[old]] = result.pop(old)
        if name not in _announced:
            _announced.add(name)
            print(f"note: option {name} is now called {new_name}", file=sys.stderr, flush=True)
    return result


def _suggest_option(cls: type, key: str) -> str:
    """Return `; did you mean "training.gamma"?` where a nested class has an option of this name."""
    *_, last = key.split(".")
    found = [path for path in _option_paths(cls) if path.split(".")[-1] == last and path != key]
    quoted = " or ".join(f'"{path}"' for path in found)
    return f"; did you mean {quoted}?" if found else ""


def _option_paths(cls: type) -> Iterator[str]:
    for name, hint in typing.get_type_hints(cls).items():
        parts = [part for part in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(part)]
        yield from (f"{name}.{path}" for part in parts for path in _option_paths(part))
        if name in {field.name for field in dataclasses.fields(cls)}:
            yield name


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    return list(value) if isinstance(value, tuple) else value


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        value = _convert(arguments[0], value, path)
        arguments[1].check(value, name=f"option {path}")
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, path)
    if origin is typing.Literal:
        if value not in arguments:
            raise UserError(
                f"option {path}: {value!r} is not one of {', '.join(map(str, arguments))}"
                + suggest(str(value), map(str, arguments))
            )
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise UserError(f"option {path}: expected a list, got {value!r}")
        return tuple(_convert(arguments[0], item, path) for item in value)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_mapping(hint, value, path=path)
    return _convert_scalar(hint, value, path)


def _convert_union(alternatives: tuple, value: Any, path: str) -> Any:
    if value is None and type(None) in alternatives:
        return None
    for alternative in alternatives:  # words that may stand for a value
        if typing.get_origin(alternative) is typing.Literal and isinstance(value, str):
            return _convert(alternative, value, path)
    (hint,) = [
        alternative
        for alternative in alternatives
        if alternative is not type(None) and typing.get_origin(alternative) is not typing.Literal
    ]
    return _convert(hint, value, path)


def _convert_scalar(hint: type, value: Any, path: str) -> Any:
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            if math.isfinite(number := float(value)):  # YAML reads 1e-8 (no dot) as a string
                return number
        raise UserError(f"option {path}: expected a finite number, got {value!r}")
    if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise UserError(f"option {path}: expected {hint.__name__}, got {value!r}")
