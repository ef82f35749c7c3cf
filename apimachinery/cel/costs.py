"""What an evaluation costs, in upstream's units: an expression that fits into its limits there fits into them here.

Source: ``cel-go/interpreter/runtimecost.go`` (nodes and CEL's own functions), ``cel-go/ext/{lists,sets}.go``,
``k8s.io/apiserver/pkg/cel/library/cost.go`` (Kubernetes' functions).
"""

from collections.abc import Callable, Sequence
from typing import Any

from protos.cel.expr.v1.checked_pb2 import Expr

LIST, MAP, MESSAGE = 10, 30, 40
"""What it costs to make one; one of constants is made beforehand."""
_CHECK = 350_000
"""For upstream's authorizer may be far away: no expression can afford three checks."""
_SIZED = (str, bytes, list, dict)
_CONVERSIONS = frozenset(("bool", "bytes", "double", "duration", "int", "string", "timestamp", "uint"))
_ATTRIBUTES = frozenset(("_[_]", "_?._", "_[?_]", "_?_:_"))
_NAMES, _SUBDOMAINS, _LABELS = 30, 60, 40
_PATTERNS = {"dns1123Label": _NAMES, "dns1035Label": _NAMES, "qualifiedName": _SUBDOMAINS, "labelValue": _LABELS}
_PATTERNS |= {"dns1123LabelPrefix": _NAMES, "dns1035LabelPrefix": _NAMES, "dns1123Subdomain": _SUBDOMAINS}
_PATTERNS |= {"dns1123SubdomainPrefix": _SUBDOMAINS}
_LONGEST_PATTERN = 128
Arguments = Sequence[Any]


def is_attribute(expr: Expr) -> bool:
    """Whether upstream reaches for the value in one step, however many fields lie on the way."""
    if expr.HasField("call_expr"):
        return expr.call_expr.function in _ATTRIBUTES
    return expr.HasField("ident_expr") or (expr.HasField("select_expr") and not expr.select_expr.test_only)


def is_constant(expr: Expr) -> bool:
    """Whether upstream evaluates it beforehand."""
    match expr.WhichOneof("kind"):
        case "const_expr":
            return True
        case "list_expr":
            return not expr.list_expr.optional_indices and all(map(is_constant, expr.list_expr.elements))
        case "struct_expr":
            entries = expr.struct_expr.entries
            plain = not expr.struct_expr.message_name and not any(e.optional_entry for e in entries)
            return plain and all(is_constant(e.map_key) and is_constant(e.value) for e in entries)
        case "call_expr":
            call = expr.call_expr
            return call.function in _CONVERSIONS and len(call.args) == 1 and is_constant(call.args[0])
    return False


def size(value: Any) -> int:
    return len(value) if isinstance(value, _SIZED) else 1


def traversal(length: int) -> int:
    """Of a text: a unit for ten characters."""
    return -(-length // 10)


def compared(a: Any, b: Any) -> int:
    return traversal(min(size(a), size(b)))


def _pattern(text: Any, length: int) -> int:
    return traversal(1 + size(text)) * -(-length // 4)


def _whole(value: Any) -> int:
    """Of everything that is in a value."""
    if isinstance(value, (str, bytes)):
        return len(value.encode() if isinstance(value, str) else value) // 10
    if isinstance(value, list):
        return sum(map(_whole, value))
    if isinstance(value, dict):
        return sum(_whole(k) + _whole(v) for k, v in value.items())
    return 1


def _joined(arguments: Arguments) -> int:
    texts, between = arguments[0], arguments[1] if len(arguments) > 1 else ""
    return traversal(2 * (sum(map(size, texts)) + size(between) * max(len(texts) - 1, 0)))


def _contained(arguments: Arguments) -> int:
    """A CIDR counts the bytes of its prefix; a text has to be parsed first."""
    prefix = traversal(2 * -(-arguments[0].interface.network.prefixlen // 8))
    return prefix + (traversal(len(arguments[1])) if isinstance(arguments[1], str) else 0)


def _allocated(length: float) -> int:
    return 1 + LIST + int(length)


def _ordered(arguments: Arguments) -> int:
    """Every one with every other."""
    by = arguments[-1]
    return _allocated(len(by) ** 2 * (2.1 if by and isinstance(by[0], (str, bytes)) else 2))


def _text(arguments: Arguments) -> int:
    return traversal(size(arguments[0]))


def _text_twice(arguments: Arguments) -> int:
    return traversal(2 * size(arguments[0]))


def _elements(arguments: Arguments) -> int:
    return _whole(arguments[0])


def _sets(factor: int) -> Callable[[Arguments], int]:
    return lambda arguments: 1 + factor * len(arguments[0]) * len(arguments[1])


def _found(arguments: Arguments) -> int:
    return _pattern(arguments[0], len(arguments[1]))


def _validated(arguments: Arguments) -> int:
    return traversal(len(arguments[1])) * -(-_PATTERNS.get(arguments[0].name, _LONGEST_PATTERN) // 4)


_TEXT: tuple[str, ...] = (
    "startsWith",
    "endsWith",
    "url",
    "lowerAscii",
    "upperAscii",
    "substring",
    "trim",
    "cidr",
    "isIP",
    "isCIDR",
)
_TEXT += ("quantity", "isQuantity", "semver", "isSemver", "format", "strings.quote", "jsonpatch.escapeKey")
CALLS: dict[str, Callable[[Arguments], int]] = {
    **dict.fromkeys(_TEXT, _text),
    **dict.fromkeys(("replace", "split", "ip.isCanonical"), _text_twice),
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _elements),
    **dict.fromkeys(("matches", "find", "findAll"), _found),
    **dict.fromkeys(("sort", "distinct", "@sortByAssociatedKeys"), _ordered),
    "ip": lambda arguments: _text(arguments) if isinstance(arguments[0], str) else 1,
    "string": lambda arguments: _text(arguments) if isinstance(arguments[0], bytes) else 1,
    "bytes": lambda arguments: _text(arguments) if isinstance(arguments[0], str) else 1,
    "contains": lambda arguments: _text(arguments) * traversal(len(arguments[1])),
    "join": _joined,
    "containsIP": _contained,
    "containsCIDR": lambda arguments: (
        _contained(arguments) + traversal(-(-arguments[0].interface.network.prefixlen // 8)) + 1
    ),
    "validate": _validated,
    "check": lambda arguments: _CHECK,
    "fieldSelector": lambda arguments: 10 + _text(arguments[1:]) + size(arguments[1]) // 2 * 50,
    "labelSelector": lambda arguments: 10 + _text(arguments[1:]) + size(arguments[1]) // 2 * 50,
    "sets.contains": _sets(1),
    "sets.intersects": _sets(1),
    "sets.equivalent": _sets(2),
    "slice": lambda arguments: _allocated(max(arguments[2] - arguments[1], 0)),
    "lists.range": lambda arguments: _allocated(max(arguments[0], 0)),
    "reverse": lambda arguments: _allocated(size(arguments[0])),
    "flatten": lambda arguments: _allocated(size(arguments[0]) * (arguments[1] if len(arguments) > 1 else 1)),
}
"""By a function's name; any other costs one."""


def call(name: str) -> Callable[[Arguments], int]:
    return CALLS.get(name) or (lambda arguments: 1)
