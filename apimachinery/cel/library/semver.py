"""Semantic versions: ``semver('1.2.3-rc.1')``. Source: https://semver.org"""

import re
from dataclasses import dataclass
from typing import ClassVar

from ..errors import EvaluationError
from ..overloads import declare_all, opaque
from ..values import Opaque

_NUMBER = r"(0|[1-9][0-9]*)"
_PART = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_PART}(?:\.{_PART})*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
MAX_LENGTH = 1000
_V = "kubernetes.Semver"


@opaque
@dataclass(frozen=True, slots=True)
class Semver(Opaque):
    major: int
    minor: int
    patch: int
    pre: str

    cel_type: ClassVar[str] = _V

    def precedence(self) -> tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]:
        """What versions are ordered by: a pre-release stands before its release, numbers before words."""
        parts = (p for p in self.pre.split(".") if p)
        pre = tuple((False, int(p), "") if p.isdigit() else (True, 0, p) for p in parts)
        return self.major, self.minor, self.patch, not pre, pre


def _find(text: str, normalize: bool = False) -> Semver | None:
    text = _normalized(text) if normalize else text
    found = _VERSION.fullmatch(text) if len(text) <= MAX_LENGTH else None
    return Semver(int(found[1]), int(found[2]), int(found[3]), found[4] or "") if found else None


def _parse(text: str, normalize: bool = False) -> Semver:
    found = _find(text, normalize)
    if found is None:
        raise EvaluationError(f"invalid semantic version {text!r}")
    return found


def _normalized(text: str) -> str:
    """Without a leading ``v`` and leading zeros, with all three numbers."""
    parts = [re.sub(r"^0+(?=\d)", "", p) for p in text.removeprefix("v").split(".", 2)]
    if len(parts) < 3 and re.search(r"[+-]", parts[-1]):
        return ""
    return ".".join(parts + ["0"] * (3 - len(parts)))


def _compare(a: Semver, b: Semver) -> int:
    return (a.precedence() > b.precedence()) - (a.precedence() < b.precedence())


declare_all(
    {
        f"semver(string) -> {_V}": _parse,
        f"semver(string, bool) -> {_V}": _parse,
        "isSemver(string) -> bool": lambda text: _find(text) is not None,
        "isSemver(string, bool) -> bool": lambda text, normalize: _find(text, normalize) is not None,
        f"({_V}).major() -> int": lambda v: v.major,
        f"({_V}).minor() -> int": lambda v: v.minor,
        f"({_V}).patch() -> int": lambda v: v.patch,
        f"({_V}).isGreaterThan({_V}) -> bool": lambda a, b: _compare(a, b) > 0,
        f"({_V}).isLessThan({_V}) -> bool": lambda a, b: _compare(a, b) < 0,
        f"({_V}).compareTo({_V}) -> int": _compare,
    }
)
