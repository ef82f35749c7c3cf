"""Fields that a JSON text gives twice, which JSON libraries silently reduce to one."""

import json
import re
from typing import Any

_SPACED_KEY = re.compile(rb'"\s+:')


def duplicate_fields(body: bytes, parsed: Any, *, limit: int = 100) -> list[str]:
    """Dotted paths of the fields that ``body`` has more than once, in document order, each once.

    ``parsed`` is the body as a JSON library read it: when it has as many members as the body has ``":``, there can be
    no duplicate, and that is nearly always and cheaply so.
    """
    if body.count(b'":') == _members(parsed) and _SPACED_KEY.search(body) is None:
        return []
    found: list[str] = []
    # Numbers are of no interest, and may have more digits than Python converts.
    _search(json.loads(body, object_pairs_hook=_Pairs, parse_int=len, parse_float=len), "", found)
    return list(dict.fromkeys(found))[:limit]


def _members(value: Any) -> int:
    if value.__class__ is dict:
        count = len(value)
        for member in value.values():
            if member.__class__ is dict or member.__class__ is list:
                count += _members(member)
        return count
    if value.__class__ is list:
        return sum([_members(v) for v in value if v.__class__ is dict or v.__class__ is list])
    return 0


class _Pairs(list[tuple[str, Any]]):
    """An object as its pairs: told from a JSON list by its type."""


def _search(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, member in value:
            place = f"{path}.{key}" if path else key
            if key in seen:
                found.append(place)
            seen.add(key)
            _search(member, place, found)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            _search(member, f"{path}[{index}]", found)
