"""From wanted endpoints and the slices there are to the fewest writes that make them agree. Pure.

Endpoints stay in the slice that they are in; new ones fill slices with room before a new slice is made; slices that
are left empty are deleted. Source: ``staging/src/k8s.io/endpointslice/reconciler.go``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from apimachinery.meta import Object, annotations_of, labels_of, owner_references

MAX_ENDPOINTS = 100


@dataclass(slots=True)
class Group:
    """Endpoints that may share slices: one address type, the same ports."""

    address_type: str
    ports: list[Object]
    endpoints: list[Object] = field(default_factory=list)

    @property
    def key(self) -> bytes:
        return _group_key(self.address_type, self.ports)


@dataclass(frozen=True, slots=True)
class Template:
    """What all slices of one owner have alike."""

    namespace: str
    generate_name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    owner: Object


@dataclass(slots=True)
class Plan:
    create: list[Object] = field(default_factory=list)
    update: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)


def plan(groups: Iterable[Group], found: Iterable[Object], template: Template, limit: int = MAX_ENDPOINTS) -> Plan:
    """``groups`` with no endpoints keep one empty slice, so that a Service without pods has one too."""
    out = Plan()
    by_key: dict[bytes, list[Object]] = {}
    for piece in sorted(found, key=lambda s: str(s["metadata"]["name"])):
        by_key.setdefault(_group_key(piece["addressType"], piece.get("ports") or []), []).append(piece)
    for group in groups:
        _plan_group(group, by_key.pop(group.key, []), template, limit, out)
    out.delete += [piece for pieces in by_key.values() for piece in pieces]
    return out


def _plan_group(group: Group, found: list[Object], template: Template, limit: int, out: Plan) -> None:
    wanted = {_identity(e): e for e in group.endpoints}
    kept: list[tuple[Object, list[Object]]] = []
    for piece in found:
        staying = [wanted.pop(_identity(e)) for e in piece.get("endpoints") or () if _identity(e) in wanted]
        kept.append((piece, staying[:limit]))
        wanted.update({_identity(e): e for e in staying[limit:]})
    missing = [wanted[identity] for identity in sorted(wanted)]
    for _, staying in sorted(kept, key=lambda item: -len(item[1])):
        room = limit - len(staying)
        staying.extend(missing[:room])
        missing = missing[room:]
    used = [(piece, staying) for piece, staying in kept if staying] or kept[:1]
    for piece, staying in used:
        wanted_piece = _piece(piece, group, staying, template)
        if _differs(piece, wanted_piece):
            out.update.append(wanted_piece)
    out.delete += [piece for piece, _ in kept if not any(piece is other for other, _ in used)]
    blank: Object = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {}}
    starts = range(0, len(missing), limit) if used else range(0, max(len(missing), 1), limit)
    out.create += [_piece(blank, group, missing[start : start + limit], template) for start in starts]


def _piece(old: Object, group: Group, endpoints: list[Object], template: Template) -> Object:
    metadata = {
        **old["metadata"],
        "namespace": template.namespace,
        "labels": dict(template.labels),
        "annotations": dict(template.annotations),
        "ownerReferences": [template.owner],
    }
    if not metadata["annotations"]:
        del metadata["annotations"]
    if "name" not in metadata:
        metadata["generateName"] = template.generate_name
    return {
        **old,
        "metadata": metadata,
        "addressType": group.address_type,
        "ports": group.ports,
        "endpoints": sorted(endpoints, key=_identity),
    }


def _differs(old: Object, new: Object) -> bool:
    def facts(piece: Object) -> tuple[Any, ...]:
        endpoints = sorted(piece.get("endpoints") or [], key=_identity)
        return endpoints, labels_of(piece), annotations_of(piece), owner_references(piece)

    return facts(old) != facts(new)


def _identity(endpoint: Object) -> bytes:
    """What makes an endpoint the same one: its address and what it leads to."""
    return orjson.dumps([sorted(endpoint["addresses"]), endpoint.get("targetRef")], option=orjson.OPT_SORT_KEYS)


def _group_key(address_type: str, ports: list[Object]) -> bytes:
    plain = [{k: v for k, v in p.items() if v not in (None, "")} for p in ports]
    ordered = sorted(plain, key=lambda p: (p.get("name", ""), p.get("port", 0), p.get("protocol", "")))
    return orjson.dumps([address_type, ordered], option=orjson.OPT_SORT_KEYS)
