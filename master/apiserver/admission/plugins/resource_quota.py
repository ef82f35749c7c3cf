"""ResourceQuota: refuses what would take a namespace over one of its quotas.

What is in use is read from the watch cache at each decision, so that a deleted object gives back at once. What was
admitted and is not in the cache yet is held as a charge, so that two creates at the same moment cannot both take the
last place: deciding and charging is one step without an await in between. A charge whose write failed later lapses.

Charges of another API server are not in this memory. So every create under a quota moves a guard key of its namespace,
and one that finds it moved by another server decides again once that server's write is in the cache.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from apimachinery import quantity, quota, scheme
from apimachinery.scheme import Kind

from ...registry.reader import Object, Reader
from ..chain import AdmissionRequest, Guard, Plugin
from ..refusal import forbidden

RESOURCE_QUOTAS = scheme.kind_of("resourcequotas")
CHARGE_SECONDS = 5.0
"""How long an admitted object may take to show in the cache; after that its write is taken to have failed."""


@dataclass(frozen=True, slots=True)
class Charge:
    kind: Kind
    name: str
    object: Object
    until: float


class ResourceQuota(Plugin):
    """``monotonic`` gives seconds."""

    name = "ResourceQuota"

    def __init__(self, reader: Reader, monotonic: Callable[[], float]) -> None:
        self._reader, self._monotonic = reader, monotonic
        self._charges: dict[str, list[Charge]] = {}

    def handles(self, request: AdmissionRequest) -> bool:
        wanted = request.operation in ("CREATE", "UPDATE") and bool(request.namespace)
        return wanted and request.subresource in ("", "resize") and request.kind.stored

    async def validate(self, request: AdmissionRequest) -> None:
        obj = request.object
        if obj is None:
            return
        quotas = list(self._reader.list(RESOURCE_QUOTAS, request.namespace))
        relevant = [q for q in quotas if self._concerns(q, request.kind, obj)]
        if not relevant:
            return
        self._decide(request, obj, relevant)
        if request.operation == "CREATE" and not request.dry_run:
            until = self._monotonic() + CHARGE_SECONDS
            name = str(obj["metadata"].get("name") or request.name)
            self._charges.setdefault(request.namespace, []).append(Charge(request.kind, name, obj, until))
            request.guard = Guard(f"quota/{request.namespace}", lambda: self._decide(request, obj, relevant))

    def _decide(self, request: AdmissionRequest, obj: Object, relevant: Iterable[Object]) -> None:
        """Raises Forbidden."""
        pending = [charge for charge in self._pending(request.namespace) if charge.object is not obj]
        for one in relevant:
            self._check(request, obj, one, pending)

    def _concerns(self, one: Object, kind: Kind, obj: Object) -> bool:
        hard = (one.get("spec") or {}).get("hard") or {}
        used = quota.usage(kind, obj)
        named = any(name in hard for name in used)
        compute = kind is scheme.PODS and bool(quota.unspecified(one, obj))
        return (named or compute) and quota.covers(one, kind, obj)

    def _check(self, request: AdmissionRequest, obj: Object, one: Object, pending: Iterable[Charge]) -> None:
        name, hard = one["metadata"]["name"], one["spec"]["hard"]
        if request.kind is scheme.PODS and request.operation == "CREATE":
            missing = quota.unspecified(one, obj)
            if missing:
                text = "; ".join(f"{resource} for: {','.join(names)}" for resource, names in missing)
                raise forbidden(request, f"failed quota: {name}: must specify {text}")
        asked = _asked(request, obj, one)
        if not asked:
            return
        used = self._used(request, one, pending)
        limits = {n: quantity.parse(hard[n]) for n in asked}
        over = [n for n, amount in asked.items() if used.get(n, quota.ZERO) + amount > limits[n]]
        if over:
            raise forbidden(
                request,
                f"exceeded quota: {name}, requested: {_text(over, asked)}, used: {_text(over, used)}, "
                f"limited: {','.join(f'{n}={hard[n]}' for n in sorted(over))}",
            )

    def _used(self, request: AdmissionRequest, one: Object, pending: Iterable[Charge]) -> quota.Usage:
        stored = self._reader.list(request.kind, request.namespace)
        charged = (c.object for c in pending if c.kind is request.kind)
        return quota.total_usage(request.kind, itertools.chain(stored, charged), one)

    def _pending(self, namespace: str) -> list[Charge]:
        """The charges that still stand: neither seen in the cache nor lapsed."""
        kept = list(self._standing(namespace))
        if kept:
            self._charges[namespace] = kept
        else:
            self._charges.pop(namespace, None)
        return kept

    def _standing(self, namespace: str) -> Iterator[Charge]:
        now = self._monotonic()
        for charge in self._charges.get(namespace, ()):
            if charge.until > now and self._reader.get(charge.kind, namespace, charge.name) is None:
                yield charge


def _asked(request: AdmissionRequest, obj: Object, one: Object) -> quota.Usage:
    """By how much the request raises what is used of what the quota names. An object may come under it by an update."""
    new = quota.usage(request.kind, obj)
    counted = request.old is not None and quota.covers(one, request.kind, request.old)
    old = quota.usage(request.kind, request.old) if request.old is not None and counted else {}
    more = {name: amount - old.get(name, quota.ZERO) for name, amount in new.items() if name in one["spec"]["hard"]}
    return {name: amount for name, amount in more.items() if amount > 0}


def _text(names: Iterable[str], amounts: Mapping[str, Decimal]) -> str:
    return ",".join(f"{name}={quantity.format(amounts.get(name, quota.ZERO))}" for name in sorted(names))
