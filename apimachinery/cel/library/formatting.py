"""``string.format``: the clauses %s %d %f %e %b %o %x %X of cel-go's extension library, in its first version.

That one writes numbers with a fraction as people in the United States do, whatever the machine is set to.
Source: ``cel-go/ext/formatting.go``.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..errors import EvaluationError
from ..values import Type, UInt, type_name
from .standard import string_bytes, string_double, string_duration, string_timestamp

MAX_PRECISION = 1000
_PLACES = 6
_SUPERSCRIPT = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
_ESCAPES = {c: f"\\{e}" for c, e in zip('\a\b\f\n\r\t\v\\"', 'abfnrtv\\"', strict=True)}
_NUMBERS = frozenset({"int", "uint"})
_FRACTIONS = frozenset({"double", "string"})  # a string may say that it is no number, or one without end

_FIXED = "fixed-point clause can only be used on doubles"
_SCIENTIFIC = "scientific clause can only be used on doubles"


@dataclass(frozen=True)
class Clause:
    """``accepts``: the names of the types that it can show; ``refusal`` says so of any other."""

    accepts: frozenset[str]
    refusal: str
    show: Callable[[Any, int | None], str]

    def check(self, type_name: str) -> str:
        """Why it cannot show a value of that type; "" if it can."""
        return "" if type_name in self.accepts else f"error during formatting: {self.refusal}, was given {type_name}"


@dataclass(frozen=True)
class Placed:
    """A clause in a text: what stands before it, and the precision that it was given."""

    before: str
    clause: Clause
    precision: int | None


def parse(text: str, arguments: int) -> Iterator[Placed | str]:
    """The clauses of a text that will get that many arguments, one after the other, and last the text after them.

    Raises EvaluationError at the first thing that is wrong.
    """
    before, at, count = "", 0, 0
    while (found := text.find("%", at)) >= 0:
        before += text[at:found]
        at = found + 1
        if text[at : at + 1] == "%":
            before, at = before + "%", at + 1
            continue
        if at == len(text):
            raise EvaluationError("unexpected end of string")
        if count >= arguments:
            raise EvaluationError(f"index {count} out of range")
        precision, at = _precision(text, at)
        if text[at] not in _CLAUSES:
            raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{text[at]}"')
        yield Placed(before, _CLAUSES[text[at]], precision)
        before, at, count = "", at + 1, count + 1
    yield before + text[at:]


def _precision(text: str, at: int) -> tuple[int | None, int]:
    """What is asked for there, and where the text goes on."""
    if text[at] != ".":
        return None, at
    end = at + 1
    while end < len(text) and text[end] in "0123456789":
        end += 1
    why = "could not parse formatting clause: error while parsing precision: "
    if end == len(text):
        raise EvaluationError(f"{why}could not find end of precision specifier")
    if end == at + 1:
        why += "error while converting precision to integer: "
        raise EvaluationError(f'{why}strconv.Atoi: parsing "": invalid syntax')
    return int(text[at + 1 : end]), end


def render(text: str, arguments: list[Any]) -> str:
    """Raises EvaluationError: too few arguments, or one that its clause cannot show."""
    shown, rest = "", iter(arguments)
    for part in parse(text, len(arguments)):
        if isinstance(part, str):
            return shown + part
        value = next(rest)
        if why := part.clause.check(type_name(value)):
            raise EvaluationError(why)
        if (part.precision or 0) > MAX_PRECISION:
            raise EvaluationError(f"precision {part.precision} is too large")
        shown += part.before + part.clause.show(value, part.precision)
    return shown


def deep(value: Any) -> int:
    """How many steps it takes to show a value with all that is inside."""
    if isinstance(value, dict):
        return 5 + sum(deep(k) + deep(v) for k, v in value.items())
    if isinstance(value, list):
        return 5 + sum(map(deep, value))
    return 5 + (len(value) // 10 if isinstance(value, (str, bytes)) else 0)


def _string(value: Any, precision: int | None = None) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_inside, value))}]"
    if isinstance(value, dict):
        members = sorted((_key(k), _inside(v)) for k, v in value.items())
        return "{" + ", ".join(f"{k}:{v}" for k, v in members) + "}"
    if value is None:
        return "null"
    if isinstance(value, Type):
        return value.name
    return str(_SHOWN[type(value)](value))


def _inside(value: Any) -> str:
    """Of a list or map: as it would be written in an expression."""
    match value:
        case str():
            return _quoted(value)
        case bytes():
            return f"b{_quoted(string_bytes(value))}"
        case float():
            return f"{value:.{_PLACES}f}" if math.isfinite(value) else f'"{string_double(value)}"'
        case datetime():
            return f'timestamp("{_string(value)}")'
        case timedelta():
            return f'duration("{_string(value)}")'
    if not STRING.accepts & {type_name(value)}:
        raise EvaluationError(f"error during formatting: no formatting function for {type_name(value)}")
    return _string(value)


def _key(value: Any) -> str:
    if isinstance(value, (str, bool, int)):
        return _inside(value)
    why = f"no formatting function for map key of type {type_name(value)}"
    raise EvaluationError(f"error during formatting: {why}")


def _quoted(text: str) -> str:
    """As Go's %q."""
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _code(c)) for c in text) + '"'


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x80 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _fixed(value: Any, precision: int | None) -> str:
    number = _fraction(value, _FIXED)
    return _endless(number) or f"{number:,.{_PLACES if precision is None else precision}f}"


def _scientific(value: Any, precision: int | None) -> str:
    """What is asked for as its precision is how wide it becomes."""
    number = _fraction(value, _SCIENTIFIC)
    mantissa, _, exponent = f"{number:.{_PLACES}e}".partition("e")
    shown = _endless(number) or f"{mantissa}\u00d710{exponent.lstrip('+').translate(_SUPERSCRIPT)}"
    return shown.rjust(_PLACES if precision is None else precision)


def _fraction(value: Any, refusal: str) -> float:
    if isinstance(value, str) and value not in ("NaN", "Infinity", "-Infinity"):
        raise EvaluationError(f"error during formatting: {refusal}, was given string")
    return float(value)


def _endless(number: float) -> str:
    return "" if math.isfinite(number) else {"nan": "NaN", "inf": "\u221e", "-inf": "-\u221e"}[str(number)]


def _hexadecimal(code: str) -> Callable[[Any, int | None], str]:
    def show(value: Any, _: int | None) -> str:
        if not isinstance(value, (str, bytes)):
            return format(int(value), code)
        digits = (value.encode() if isinstance(value, str) else value).hex()
        return digits.upper() if code == "X" else digits

    return show


_SHOWN: dict[type, Callable[[Any], object]] = {
    str: str,
    int: str,
    UInt: int,
    bool: lambda value: "true" if value else "false",
    float: string_double,
    bytes: string_bytes,
    datetime: string_timestamp,
    timedelta: string_duration,
}
STRING = Clause(
    frozenset({type_name(kind()) for kind in (str, bool, bytes, int, UInt, float, dict, list, timedelta)})
    | {"type", "null_type", "google.protobuf.Timestamp"},
    "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and "
    "timestamps",
    _string,
)
_HEXADECIMAL = "only integers, byte buffers, and strings can be formatted as hex"
_CLAUSES: dict[str, Clause] = {
    "s": STRING,
    "d": Clause(_NUMBERS, "decimal clause can only be used on integers", lambda v, _: str(int(v))),
    "f": Clause(_FRACTIONS, _FIXED, _fixed),
    "e": Clause(_FRACTIONS, _SCIENTIFIC, _scientific),
    "b": Clause(
        _NUMBERS | {"bool"}, "only integers and bools can be formatted as binary", lambda v, _: format(int(v), "b")
    ),
    "o": Clause(_NUMBERS, "octal clause can only be used on integers", lambda v, _: format(int(v), "o")),
    **{c: Clause(_NUMBERS | {"string", "bytes"}, _HEXADECIMAL, _hexadecimal(c)) for c in "xX"},
}
