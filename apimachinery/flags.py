"""Command-line flags, read as the upstream components read them (Go's ``pflag``), and declared once: as the fields of
dataclasses that hold what they say. A field without ``flag`` or ``group`` has no flag.

A flag has its field's name with dashes, and is read as what its default is: a string, an integer, seconds from a
duration (float), true or false, or a comma-separated list (tuple).
"""

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar, cast

T = TypeVar("T")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)")
_KEY = "flag"


def boolean(text: str) -> bool:
    """``true`` or ``false``, as in ``--leader-elect=false``."""
    if text.lower() not in {"true", "false", "1", "0"}:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() in {"true", "1"}


def duration(text: str) -> float:
    """Seconds from a Go duration such as ``40s``, ``1m30s`` or ``250ms``."""
    parts = _PART.findall(text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        if text == "0":
            return 0.0
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 40s or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def names(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


@dataclass(frozen=True, slots=True)
class _Flag:
    text: str
    name: str
    parse: Callable[[str], object]
    repeated: bool


@dataclass(frozen=True, slots=True)
class _Group:
    made: type[Any]
    title: str
    prefix: str


def flag(default: T, text: str, *, name: str = "", repeated: bool = False) -> T:
    """A field with a flag. ``name`` if it is not the field's; ``repeated``: given once for each part of a tuple."""
    readers = {bool: boolean, int: int, float: duration, tuple: str if repeated else names, str: str}
    made = _Flag(text, name, cast(Callable[[str], object], readers[type(default)]), repeated)
    return field(default=default, metadata={_KEY: made})


def required(text: str, *, name: str = "", parse: Callable[[str], object] = str) -> Any:
    """A field with a flag that must be given."""
    return field(metadata={_KEY: _Flag(text, name, parse, False)})


def group(made: type[T], title: str, prefix: str = "") -> T:
    """A field that is such a dataclass itself; ``prefix`` begins the names of its flags."""
    return cast(T, field(metadata={_KEY: _Group(made, title, prefix)}))


def parser(options: type[Any], program: str, description: str) -> argparse.ArgumentParser:
    """The parser of a dataclass's flags."""
    made = argparse.ArgumentParser(program, description=description)
    _add(made, options, "")
    return made


def read(options: type[T], given: argparse.Namespace, prefix: str = "") -> T:
    """The dataclass that the parsed command line tells."""
    values: dict[str, Any] = {}
    for part in _declared(options):
        declared = part.metadata[_KEY]
        if isinstance(declared, _Group):
            values[part.name] = read(declared.made, given, prefix + declared.prefix)
            continue
        value = getattr(given, prefix + (declared.name or part.name.replace("_", "-")))
        values[part.name] = (tuple(value) if value else part.default) if declared.repeated else value
    return options(**values)


def parse(options: type[T], program: str, description: str, arguments: Sequence[str] | None) -> T:
    """Read the command line. Ends the program with a message if it is wrong."""
    return read(options, parser(options, program, description).parse_args(arguments))


def _declared(options: type[Any]) -> list[Field[Any]]:
    return [part for part in fields(options) if _KEY in part.metadata]


def _add(to: argparse._ActionsContainer, options: type[Any], prefix: str) -> None:
    for part in _declared(options):
        declared = part.metadata[_KEY]
        if isinstance(declared, _Group):
            _add(to.add_argument_group(declared.title), declared.made, prefix + declared.prefix)
        else:
            _add_one(to, prefix + (declared.name or part.name.replace("_", "-")), part.default, declared)


def _add_one(to: argparse._ActionsContainer, name: str, default: Any, declared: _Flag) -> None:
    more: dict[str, Any] = {"dest": name, "help": declared.text}
    if default is MISSING:
        more["required"] = True
    elif default not in ("", (), 0) or default is False:
        more["help"] += f" (default: {_shown(default)})"
    if declared.repeated:
        to.add_argument(f"--{name}", action="append", metavar=name.rpartition("-")[2].upper(), **more)
        return
    more |= {"type": declared.parse, "metavar": name.rpartition("-")[2].upper()}
    if default is not MISSING:
        more["default"] = default
    if declared.parse is boolean:  # may stand alone (true) or carry a value after "="
        more |= {"nargs": "?", "const": True, "metavar": "BOOL"}
    to.add_argument(f"--{name}", **more)


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}s"
    return ",".join(default) if isinstance(default, tuple) else str(default)
