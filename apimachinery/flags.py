"""Command-line flags read as the upstream components read them (Go's ``pflag``)."""

import argparse
import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)")


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


def add_boolean(parser: argparse._ActionsContainer, name: str, default: bool, text: str) -> None:
    """A flag that may stand alone (true) or carry a value after ``=``."""
    parser.add_argument(name, type=boolean, nargs="?", const=True, default=default, metavar="BOOL", help=text)
