"""kubectl's JSONPath templates: ``{.items[*].metadata.name}``, ``{range .items[*]}…{end}``, text.

Source: https://kubernetes.io/docs/reference/kubectl/jsonpath/.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from apimachinery.jsonpath import BadPath, evaluate
from cli.refusal import Refusal

_TOKEN = re.compile(r"\{((?:\"[^\"]*\"|'[^']*'|[^{}])*)\}|([^{}]+)")


class BadTemplate(Refusal, ValueError):
    """The template cannot be read; the message says where."""


def render(template: str, document: Any) -> str:
    """The text that a template makes of a JSON document. Raises BadTemplate."""
    if "{" not in template:
        template = "{" + (template if template.startswith((".", "[", "$")) else f".{template}") + "}"
    tokens = [(m[1], m[2]) for m in _TOKEN.finditer(template)]
    try:
        return "".join(_render(iter(tokens), document, document))
    except BadPath as error:
        raise BadTemplate(str(error)) from error


def _render(tokens: Iterator[tuple[str | None, str | None]], current: Any, root: Any) -> Iterator[str]:
    for expression, text in tokens:
        if expression is None:
            yield text or ""
        elif (word := expression.strip()) == "end":
            return
        elif word.startswith("range "):
            body = list(_until_end(tokens))
            for item in evaluate(word[6:].strip(), current, root):
                yield from _render(iter(body), item, root)
        elif word[:1] in "\"'" and word:
            yield word[1:-1].encode().decode("unicode_escape")
        else:
            yield " ".join(_text(v) for v in evaluate(word, current, root))


def _until_end(tokens: Iterator[tuple[str | None, str | None]]) -> Iterator[tuple[str | None, str | None]]:
    depth = 1
    for token in tokens:
        word = (token[0] or "").strip()
        depth += word.startswith("range ") - (word == "end")
        if depth == 0:
            return
        yield token
    raise BadTemplate("a range without its {end}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
