"""Semantic versions: ``semver('1.2.3-rc.1')``. Source: https://semver.org"""

import re
from dataclasses import dataclass
from typing import ClassVar

from ..errors import EvaluationError
from ..overloads import function, opaque
from ..values import Opaque

_NUMBER = r"(0|[1-9][0-9]*)"
_PART = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_PART}(?:\.{_PART})*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
MAX_LENGTH = 1000
Precedence = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]


@opaque
@dataclass(frozen=True, slots=True)
class Semver(Opaque):
    major: int
    minor: int
    patch: int
    pre: str

    cel_type: ClassVar[str] = "kubernetes.Semver"

    def precedence(self) -> Precedence:
        """What versions are ordered by: a pre-release stands before its release, numbers before words."""
        parts = (p for p in self.pre.split(".") if p)
        pre = tuple((False, int(p), "") if p.isdigit() else (True, 0, p) for p in parts)
        return self.major, self.minor, self.patch, not pre, pre


def _parse(text: str) -> Semver | None:
    found = _VERSION.fullmatch(text) if len(text) <= MAX_LENGTH else None
    return Semver(int(found[1]), int(found[2]), int(found[3]), found[4] or "") if found else None


def _normalized(text: str) -> str:
    """Without a leading ``v`` and leading zeros, with all three numbers."""
    parts = text.removeprefix("v").split(".", 2)
    parts = [re.sub(r"^0+(?=\d)", "", p) for p in parts]
    if len(parts) < 3 and re.search(r"[+-]", parts[-1]):
        return ""
    return ".".join(parts + ["0"] * (3 - len(parts)))


@function("semver(string) -> kubernetes.Semver")
def semver(text: str) -> Semver:
    found = _parse(text)
    if found is None:
        raise EvaluationError(f"invalid semantic version {text!r}")
    return found


@function("semver(string, bool) -> kubernetes.Semver")
def semver_normalized(text: str, normalize: bool) -> Semver:
    return semver(_normalized(text) if normalize else text)


@function("isSemver(string) -> bool")
def is_semver(text: str) -> bool:
    return _parse(text) is not None


@function("isSemver(string, bool) -> bool")
def is_semver_normalized(text: str, normalize: bool) -> bool:
    return is_semver(_normalized(text) if normalize else text)


@function("(kubernetes.Semver).major() -> int")
def major(version: Semver) -> int:
    return version.major


@function("(kubernetes.Semver).minor() -> int")
def minor(version: Semver) -> int:
    return version.minor


@function("(kubernetes.Semver).patch() -> int")
def patch(version: Semver) -> int:
    return version.patch


@function("(kubernetes.Semver).isGreaterThan(kubernetes.Semver) -> bool")
def is_greater(a: Semver, b: Semver) -> bool:
    return a.precedence() > b.precedence()


@function("(kubernetes.Semver).isLessThan(kubernetes.Semver) -> bool")
def is_less(a: Semver, b: Semver) -> bool:
    return a.precedence() < b.precedence()


@function("(kubernetes.Semver).compareTo(kubernetes.Semver) -> int")
def compare_to(a: Semver, b: Semver) -> int:
    return is_greater(a, b) - is_less(a, b)
