"""Strings: cel-go's extension library (version 2, and ``reverse``), and regular expressions that find."""

from typing import Any

from ..errors import EvaluationError
from ..overloads import function
from ..values import type_name
from .formatting import render
from .standard import pattern


@function("(string).charAt(int) -> string")
def char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return text[index : index + 1]


@function("(string).indexOf(string) -> int")
def index_of(text: str, part: str) -> int:
    return text.find(part)


@function("(string).indexOf(string, int) -> int")
def index_of_from(text: str, part: str, start: int) -> int:
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    return text.find(part, start)


@function("(string).lastIndexOf(string) -> int")
def last_index_of(text: str, part: str) -> int:
    return text.rfind(part)


@function("(string).lastIndexOf(string, int) -> int")
def last_index_of_from(text: str, part: str, last: int) -> int:
    if not 0 <= last <= len(text):
        raise EvaluationError(f"index out of range: {last}")
    return text.rfind(part, 0, last + len(part))


def _upper(char: str) -> str:
    return char.upper() if char.isascii() else char


@function("(string).lowerAscii() -> string")
def lower_ascii(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text)


@function("(string).upperAscii() -> string")
def upper_ascii(text: str) -> str:
    return "".join(map(_upper, text))


@function("(string).trim() -> string")
def trim(text: str) -> str:
    return text.strip()


@function("(string).reverse() -> string")
def reverse(text: str) -> str:
    return text[::-1]


def _grown(text: str, old: str, new: str, limit: int = -1) -> int:
    count = text.count(old)
    return (count if limit < 0 else min(count, limit)) * len(new) // 10


@function("(string).replace(string, string) -> string", cost=_grown)
def replace(text: str, old: str, new: str) -> str:
    return text.replace(old, new)


@function("(string).replace(string, string, int) -> string", cost=_grown)
def replace_some(text: str, old: str, new: str, limit: int) -> str:
    return text.replace(old, new, limit)


@function("(string).split(string) -> list<string>")
def split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


@function("(string).split(string, int) -> list<string>")
def split_some(text: str, separator: str, limit: int) -> list[str]:
    if limit <= 1:
        return [] if limit == 0 else [text] if limit == 1 else split(text, separator)
    if not separator:
        return [*text[: limit - 1], text[limit - 1 :]] if len(text) >= limit else list(text)
    return text.split(separator, limit - 1)


@function("(string).substring(int) -> string")
def substring(text: str, start: int) -> str:
    return substring_between(text, start, len(text))


@function("(string).substring(int, int) -> string")
def substring_between(text: str, start: int, end: int) -> str:
    if not 0 <= start <= end <= len(text):
        raise EvaluationError(f"index out of range: {start if not 0 <= start <= len(text) else end}")
    return text[start:end]


def _joined(texts: list[Any], separator: str = "") -> int:
    return sum(len(t) + len(separator) for t in texts if isinstance(t, str)) // 10


@function("(list<string>).join() -> string", cost=_joined)
def join(texts: list[Any]) -> str:
    return join_with(texts, "")


@function("(list<string>).join(string) -> string", cost=_joined)
def join_with(texts: list[Any], separator: str) -> str:
    wrong = next((t for t in texts if not isinstance(t, str)), None)
    if wrong is not None:
        raise EvaluationError(f"no such overload: join(list({type_name(wrong)}))")
    return separator.join(texts)


_QUOTED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_QUOTED |= {"\\": "\\\\", '"': '\\"'}


@function("strings.quote(string) -> string")
def quote(text: str) -> str:
    return '"' + "".join(_QUOTED.get(c, c) for c in text) + '"'


@function("jsonpatch.escapeKey(string) -> string")
def escape_key(text: str) -> str:
    """A key as a part of a JSON pointer (RFC 6901)."""
    return text.replace("~", "~0").replace("/", "~1")


@function("(string).format(list<dyn>) -> string", cost=lambda text, arguments: _joined(arguments))
def format_text(text: str, arguments: list[Any]) -> str:
    return render(text, arguments)


@function("(string).find(string) -> string")
def find(text: str, expression: str) -> str:
    found = pattern(expression).search(text)
    return str(found.group(0)) if found else ""


@function("(string).findAll(string) -> list<string>")
def find_all(text: str, expression: str) -> list[str]:
    return [str(m.group(0)) for m in pattern(expression).finditer(text)]


@function("(string).findAll(string, int) -> list<string>")
def find_some(text: str, expression: str, limit: int) -> list[str]:
    found = find_all(text, expression)
    return found if limit < 0 else found[:limit]
