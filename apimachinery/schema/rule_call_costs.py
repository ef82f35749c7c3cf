"""What calls may cost at worst, and how large their results can be.

Source: ``cel-go/checker/cost.go``, ``cel-go/ext/lists.go`` (version 3) and ``sets.go``,
``k8s.io/apiserver/pkg/cel/library/cost.go``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .rule_costs import MOST, UNKNOWN, Estimate, Estimator, Size, scaled, union

if TYPE_CHECKING:
    from protos.cel.expr.v1.checked_pb2 import Type

TRAVERSAL = 0.1
_REGEX = 0.25
_LONGEST_FORMAT, _LONGEST_NAME = 64, 128
_ONE = frozenset(
    (
        "serviceAccount",
        "path",
        "group",
        "resource",
        "subresource",
        "namespace",
        "name",
        "allowed",
        "reason",
        "error",
        "errored",
        "masked",
        "prefixLength",
        "family",
        "isUnspecified",
        "isLoopback",
        "isLinkLocalMulticast",
        "isLinkLocalUnicast",
        "isGlobalUnicast",
        "format.named",
        "sign",
        "asInteger",
        "isInteger",
        "asApproximateFloat",
        "isGreaterThan",
        "isLessThan",
        "compareTo",
        "add",
        "sub",
        "major",
        "minor",
        "patch",
        "getScheme",
        "getHostname",
        "getHost",
        "getPort",
        "getEscapedPath",
        "getQuery",
    )
)
_CHECK = 350_000
_SETS = {"sets.contains": 1, "sets.intersects": 1, "sets.equivalent": 2}
_AUTHORIZER = ("Authorizer", "PathCheck", "GroupCheck", "ResourceCheck", "Decision")
_SAME_AT_ONCE = {"net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver"}
_SAME_AT_ONCE |= {f"kubernetes.authorization.{name}" for name in _AUTHORIZER}
_COMPARED = ("(string, string) -> bool", "(bytes, bytes) -> bool")
_Found = tuple[int, Size | None]


@dataclass(slots=True)
class Call:
    """One call, whose arguments are estimated already; ``overloads`` may be several where types are not known."""

    around: Estimator
    function: str
    overloads: tuple[str, ...]
    target: Estimate | None
    arguments: Sequence[Estimate]
    type: "Type"

    def estimate(self) -> Estimate:
        if not self.overloads:
            return Estimate(0, self.type)
        paid = (self.target.cost if self.target else 0) + sum(a.cost for a in self.arguments)
        if self.function == "_?_:_":
            return self._conditional()
        found = self._lists() or self._library() or self._sized()
        if found:
            return Estimate(min(paid + found[0], MOST), self.type, found[1])
        each = [self._standard(overload) for overload in self.overloads]
        sizes = [size for _, size in each if size]
        size = (min(s[0] for s in sizes), max(s[1] for s in sizes)) if sizes else None
        made = Estimate(min(paid + max(cost for cost, _ in each), MOST), self.type, size)
        return self._within(made)

    def _conditional(self) -> Estimate:
        asked, a, b = self.arguments
        members = a.members.union(b.members) if a.members else None
        return Estimate(min(asked.cost + max(a.cost, b.cost), MOST), self.type, union(a.sized, b.sized), members)

    def _within(self, made: Estimate) -> Estimate:
        """What a call knows of the members of its result."""
        first = self.arguments[0] if self.arguments else None
        value = first.members.value if first and first.members else None
        if first and "index_list" in self.overloads:
            made = replace(made, size=value, path=(*first.path, "@items"))
        if first and "index_map" in self.overloads:
            made = replace(made, size=value, path=(*first.path, "@values"))
        if "add_list" in self.overloads and first and first.members:
            return replace(made, members=first.members.union(self.arguments[1].members))
        return made

    def _elements(self, of: Estimate) -> "tuple[Size, bool] | None":
        """The size of what is in a list, and whether that is text; None for what is no list."""
        kinds = of.type.list_type.elem_type if of.type.HasField("list_type") else None
        if kinds is None:
            return None
        return (of.path and self.around.by_path((*of.path, "@items"))) or UNKNOWN, _is_text(kinds)

    def _lists(self) -> _Found | None:
        """What builds a list, or compares the members of two with each other."""
        first = self.target or (self.arguments[0] if self.arguments else None)
        if first is None:
            return None
        match self.function, len(self.arguments):
            case "slice", 2:
                start, end = (_literal(a, other) for a, other in zip(self.arguments, (0, first.most), strict=True))
                return _allocated((end - start) % (MOST + 1))
            case "lists.range", 1:
                return _allocated(_literal(first, MOST))
            case "reverse", 0:
                return _allocated(first.most, first.sized)
            case "flatten", count:
                depth = _literal(self.arguments[0], MOST) if count else 1
                return _allocated(scaled(first.most, depth), first.sized)
            case ("distinct" | "sort", 0) | ("@sortByAssociatedKeys", 1):
                of = self.arguments[0] if self.arguments else first
                elements = self._elements(of)
                compared = min(of.most**2, MOST)
                cost, _ = _allocated(scaled(compared, 2 + (TRAVERSAL if elements and elements[1] else 0)))
                return cost, (min(of.sized[0] ** 2, MOST), compared)
        if self.function in _SETS:
            product = min(self.arguments[0].most * self.arguments[1].most, MOST)
            return scaled(product, _SETS[self.function]) + 1, None
        return None

    def _library(self) -> _Found | None:
        """Kubernetes' own functions."""
        name, target, arguments = self.function, self.target, self.arguments
        if name in _ONE:
            return 1, None
        match name, arguments:
            case "check", _:
                return _CHECK, None
            case "fieldSelector" | "labelSelector", [text]:
                return 10 + scaled(text.most, TRAVERSAL) + scaled(scaled(text.most, 0.5), 50), None
            case "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", _ if target:
                return self._searched(target), None
            case "ip" | "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver", _:
                of_cidr = any("CIDR" in overload.partition(".ip")[0] for overload in self.overloads)
                return (1 if name == "ip" and of_cidr else scaled(arguments[0].most, TRAVERSAL)), None
            case "ip.isCanonical", [text]:
                return scaled(text.most, 2 * TRAVERSAL), None
            case "containsIP" | "containsCIDR", [other]:
                by_text = scaled(other.most, TRAVERSAL) if "string" in self.overloads[0].partition(").")[2] else 0
                return (4 if name == "containsIP" else 7) + by_text, None
            case "validate", [text]:
                return scaled(scaled(text.most, TRAVERSAL), _LONGEST_NAME * _REGEX), None
            case "_==_", [a, b] if _opaque(a.type) == _opaque(b.type) != "":
                return self._same(a, b)
        return None

    def _same(self, a: Estimate, b: Estimate) -> _Found | None:
        kind = _opaque(a.type)
        if kind in _SAME_AT_ONCE:
            return 1, None
        if kind == "kubernetes.NamedFormat":
            return scaled(_LONGEST_FORMAT, TRAVERSAL), None
        return (scaled(b.most if b.size else 1, TRAVERSAL), None) if kind == "kubernetes.URL" else None

    def _searched(self, target: Estimate) -> int:
        elements = self._elements(target)
        if elements is None:
            return scaled(target.most, TRAVERSAL)
        size, is_text = elements
        return min(target.most * (1 + (scaled(size[1], TRAVERSAL) if is_text else 0)), MOST)

    def _sized(self) -> _Found | None:
        """Functions that make one text of another."""
        name, target, arguments = self.function, self.target, self.arguments
        if name in ("url", "jsonpatch.escapeKey") and len(arguments) == 1:
            return scaled(arguments[0].most, TRAVERSAL), arguments[0].sized
        if name == "strings.quote":
            low, high = arguments[0].sized
            return scaled(high, TRAVERSAL), (low + 2, min(high * 2 + 2, MOST))
        if target is None:
            return None
        match name:
            case "lowerAscii" | "upperAscii" | "substring" | "trim":
                return scaled(target.most, TRAVERSAL), target.sized
            case "replace":
                return scaled(target.most, 2 * TRAVERSAL), _replaced(target, arguments[0].sized, arguments[1].sized)
            case "split":
                limit = _literal(arguments[1], target.most) if len(arguments) > 1 else target.most
                return scaled(target.most, 2 * TRAVERSAL), (0, limit)
            case "join":
                size = self._joined(target)
                return scaled(size[1], TRAVERSAL), size
            case "find" | "findAll":
                return self._matched(target, arguments[0]), (0, target.most)
        return None

    def _joined(self, target: Estimate) -> Size:
        elements = self._elements(target)
        size = elements[0] if elements else (0, 0)
        low, high = target.sized[0] * size[0], target.most * size[1]
        if self.arguments:
            between = self.arguments[0].sized
            low += between[0] * max(target.sized[0] - 1, 0)
            high += between[1] * max(target.most - 1, 0)
        return min(low, MOST), min(high, MOST)

    @staticmethod
    def _matched(text: Estimate, pattern: Estimate) -> int:
        return min(scaled(min(text.most + 1, MOST), TRAVERSAL) * scaled(pattern.most, _REGEX), MOST)

    def _standard(self, overload: str) -> _Found:
        target, arguments = self.target, self.arguments
        match overload:
            case "string_to_bytes":
                low, high = arguments[0].sized
                return scaled(high, TRAVERSAL), (low, min(high * 4, MOST))
            case "bytes_to_string" | "string(bytes) -> string":
                low, high = arguments[0].sized
                return scaled(high, TRAVERSAL), (low // 4, high)
            case "starts_with_string" | "ends_with_string":
                return scaled(arguments[0].most, TRAVERSAL), None
            case "in_list":
                return arguments[1].most, None
            case "matches_string" | "matches":
                text = target or arguments[0]
                return self._matched(text, arguments[-1]), None
            case "contains_string" if target:
                return min(scaled(target.most, TRAVERSAL) * scaled(arguments[0].most, TRAVERSAL), MOST), None
            case "logical_and" | "logical_or":
                return 0, None
            case "add_string" | "add_bytes" | "add_list":
                low, high = (min(a + b, MOST) for a, b in zip(arguments[0].sized, arguments[1].sized, strict=True))
                return (1 if overload == "add_list" else scaled(high, TRAVERSAL)), (low, high)
        if "format(" in overload and target:
            return scaled(target.most, TRAVERSAL), None
        if overload in ("equals", "not_equals") or overload.endswith(
            ("(string, string) -> bool", "(bytes, bytes) -> bool")
        ):
            return scaled(min(a.most for a in arguments), TRAVERSAL), None
        return 1, None


def _allocated(cost: int, size: Size | None = None) -> tuple[int, Size]:
    """A call that makes a list, which is as long as its cost if nothing else is told."""
    return min(cost + 11, MOST), size or (cost, cost)


def _literal(of: Estimate, otherwise: int) -> int:
    return max(of.literal, 0) if type(of.literal) is int else otherwise


def _replaced(target: Estimate, old: Size, new: Size) -> Size:
    """The size of ``target`` with every ``old`` made ``new``: as often and as much longer, or shorter, as can be."""
    low, high = target.sized
    most = -(-high // old[0]) * new[1] if old[0] else (high + 1) * new[1] + high
    least = -(-low // old[1]) * new[0] if old[1] else (low + 1) * new[0] + low
    if 0 < old[0] >= new[1]:
        most = high
    if 0 < old[1] <= new[0]:
        least = low
    return min(least, MOST), min(most, MOST)


def _is_text(found: "Type") -> bool:
    from protos.cel.expr.v1.checked_pb2 import Type

    return found.primitive in (Type.STRING, Type.BYTES)


def _opaque(found: "Type") -> str:
    return found.abstract_type.name or found.message_type
