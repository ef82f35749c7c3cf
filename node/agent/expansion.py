"""``$(NAME)`` in commands, arguments and environment values.

``$$(NAME)`` is a literal ``$(NAME)``; a reference to what is not defined stays as it is. Source:
``k8s.io/kubernetes/third_party/forked/golang/expansion``.
"""

import re
from collections.abc import Mapping
from typing import Final

_REFERENCE: Final = re.compile(r"\$(?:\$|\(([^)]*)\))")


def expand(text: str, values: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda m: _one(m, values), text)


def _one(match: re.Match[str], values: Mapping[str, str]) -> str:
    if match.group(0) == "$$":
        return "$"
    return values.get(match.group(1), match.group(0))


def undefined(text: str, values: Mapping[str, str]) -> list[str]:
    """The names that ``text`` refers to and ``values`` lacks."""
    return [m.group(1) for m in _REFERENCE.finditer(text) if m.group(1) is not None and m.group(1) not in values]
