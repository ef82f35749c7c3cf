"""How a property that is no CEL name is written in an expression.

Source: k8s.io/apiserver/pkg/cel/escaping.go, documented at
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

import re

RESERVED = frozenset(
    (
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"),
        *("let", "loop", "package", "namespace", "return", "var", "void", "while"),
    )
)
_ESCAPED = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_PLAIN = {text: char for char, text in _ESCAPED.items()}
_NAME = re.compile(r"[A-Za-z_.\-/][A-Za-z0-9_.\-/]*")


def escape(name: str) -> str | None:
    """The property's name in CEL; None if it has none."""
    if name in RESERVED:
        return f"__{name}__"
    if not _NAME.fullmatch(name):
        return None
    return re.sub(r"__|[.\-/]", lambda found: _ESCAPED[found[0]], name)


def unescape(name: str) -> str:
    """The property that a name in CEL stands for."""
    if "__" not in name:
        return name
    if name.startswith("__") and name.endswith("__") and name[2:-2] in RESERVED:
        return name[2:-2]
    return re.sub(r"__(?:underscores|dot|dash|slash)__", lambda found: _PLAIN[found[0]], name)


def spellings(name: str) -> tuple[str, ...]:
    """The properties that a name may mean: itself first, as maps have it."""
    plain = unescape(name)
    return (name,) if plain == name else (name, plain)
