"""Strings: cel-go's extension library (version 2), and regular expressions that find."""

from typing import Any

from ..errors import EvaluationError
from ..overloads import declare, declare_all, sized
from ..values import type_name
from .formatting import deep, render
from .standard import pattern


def _within(text: str, index: int) -> int:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return index


def _char_at(text: str, index: int) -> str:
    return text[_within(text, index) : index + 1]


def _index(text: str, part: str, start: int) -> int:
    if start < 0:
        raise EvaluationError(f"index out of range: {start}")
    return text.find(part, start) if part else min(start, len(text))


def _last_index(text: str, part: str, last: int) -> int:
    if last < 0:
        raise EvaluationError(f"index out of range: {last}")
    if not part:
        return min(last, len(text))
    return text.rfind(part, 0, last + len(part)) if last < len(text) else -1


def _ascii(text: str, upper: bool) -> str:
    return "".join((c.upper() if upper else c.lower()) if c.isascii() else c for c in text)


def _grown(text: str, old: str, new: str, limit: int = -1) -> int:
    count = text.count(old)
    return sized(text) + (count if limit < 0 else min(count, limit)) * len(new) // 10


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit in (0, 1):
        return [text][:limit]
    if separator:
        return text.split(separator, limit - 1 if limit > 0 else -1)
    return [*text[: limit - 1], text[limit - 1 :]] if 0 < limit <= len(text) else list(text)


def _substring(text: str, start: int, end: int | None = None) -> str:
    end = len(text) if end is None else _within(text, end)
    if _within(text, start) > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    return text[start:end]


def _joined(texts: list[Any], separator: str = "") -> int:
    return len(texts) + sum(len(t) + len(separator) for t in texts if isinstance(t, str)) // 10


def _join(texts: list[Any], separator: str = "") -> str:
    wrong = next((t for t in texts if not isinstance(t, str)), None)
    if wrong is not None:
        raise EvaluationError(f"no such overload: join(list({type_name(wrong)}))")
    return separator.join(texts)


_QUOTED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_QUOTED |= {"\\": "\\\\", '"': '\\"'}


def _find(text: str, expression: str) -> str:
    found = pattern(expression).search(text)
    return str(found.group(0)) if found else ""


def _find_all(text: str, expression: str, limit: int = -1) -> list[str]:
    found = [str(m.group(0)) for m in pattern(expression).finditer(text)]
    return found if limit < 0 else found[:limit]


declare_all(
    {
        "(string).charAt(int) -> string": _char_at,
        "(string).indexOf(string) -> int": str.find,
        "(string).indexOf(string, int) -> int": _index,
        "(string).lastIndexOf(string) -> int": str.rfind,
        "(string).lastIndexOf(string, int) -> int": _last_index,
        "(string).lowerAscii() -> string": lambda text: _ascii(text, False),
        "(string).upperAscii() -> string": lambda text: _ascii(text, True),
        "(string).trim() -> string": str.strip,
        "(string).split(string) -> list<string>": _split,
        "(string).split(string, int) -> list<string>": _split,
        "(string).substring(int) -> string": _substring,
        "(string).substring(int, int) -> string": _substring,
        "strings.quote(string) -> string": lambda text: '"' + "".join(_QUOTED.get(c, c) for c in text) + '"',
        "jsonpatch.escapeKey(string) -> string": lambda text: text.replace("~", "~0").replace("/", "~1"),
        "(string).find(string) -> string": _find,
        "(string).findAll(string) -> list<string>": _find_all,
        "(string).findAll(string, int) -> list<string>": _find_all,
    }
)
declare(
    "(string).replace(string, string) -> string",
    "(string).replace(string, string, int) -> string",
    call=str.replace,
    work=_grown,
)
declare("(list<string>).join() -> string", "(list<string>).join(string) -> string", call=_join, work=_joined)
declare("(string).format(list<dyn>) -> string", call=render, work=lambda text, arguments: sized(text) + deep(arguments))
