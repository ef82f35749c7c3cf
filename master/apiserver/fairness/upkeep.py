"""Keeps the objects of priority and fairness: the defaults are there, and schemas tell whether their level is."""

from collections.abc import Iterable
from typing import Any

from apimachinery import meta
from apimachinery.errors import Conflict, NotFound
from apimachinery.lifecycle import guard
from apimachinery.scheme import Kind

from ..auth.bootstrap import create_missing
from ..registry.reader import Reader
from ..registry.store import LoopbackWriter
from . import defaults
from .defaults import AUTOUPDATE, FLOW_SCHEMAS, LEVELS, MANDATORY
from .fairness import Fairness

Object = dict[str, Any]


async def ensure_defaults(reader: Reader, writer: LoopbackWriter) -> None:
    """Make the default objects what they should be. Raises ApiError."""
    for kind, objects in ((LEVELS, defaults.levels()), (FLOW_SCHEMAS, defaults.schemas())):
        for wanted in objects:
            existing = reader.get(kind, "", wanted["metadata"]["name"])
            if existing is None:
                await create_missing(kind, wanted, writer)
            elif outdated(existing, wanted):
                await _update(kind, existing | {"spec": wanted["spec"]}, writer)


def outdated(existing: Object, wanted: Object) -> bool:
    """Whether a default object has to be put back: mandatory ones always, others while their annotation says so."""
    kept = meta.annotations_of(existing).get(AUTOUPDATE) == "true" or wanted["metadata"]["name"] in MANDATORY
    return kept and existing.get("spec") != wanted["spec"]


async def keep(fairness: Fairness, reader: Reader, writer: LoopbackWriter) -> None:
    """Run for ever: look at the objects after each change of them."""

    async def look() -> None:
        await ensure_defaults(reader, writer)
        levels = {o["metadata"]["name"] for o in reader.list(LEVELS)}
        for schema in dangling_changed(list(reader.list(FLOW_SCHEMAS)), levels):
            await _update(FLOW_SCHEMAS, schema, writer, "status")

    while True:
        await fairness.changed.wait()
        fairness.changed.clear()
        await guard("flow control objects", look)


def dangling_changed(schemas: Iterable[Object], levels: set[str]) -> Iterable[Object]:
    """Those schemas, with their new status, whose condition Dangling is not what it should be."""
    for schema in schemas:
        name = schema["spec"]["priorityLevelConfiguration"]["name"]
        dangling = name not in levels
        wanted = {
            "type": "Dangling",
            "status": "True" if dangling else "False",
            "reason": "NotFound" if dangling else "Found",
            "message": f'This FlowSchema references the PriorityLevelConfiguration object named "{name}" '
            + ("but there is no such object" if dangling else "and it exists"),
            "lastTransitionTime": meta.now_time(),
        }
        found = meta.get_condition(schema, "Dangling") or {}
        if found.get("status") != wanted["status"]:
            conditions = (schema.get("status") or {}).get("conditions")
            yield schema | {"status": {"conditions": meta.with_condition(conditions, wanted)}}


async def _update(kind: Kind, obj: Object, writer: LoopbackWriter, subresource: str = "") -> None:
    try:
        await writer.update(kind, obj, subresource)
    except (Conflict, NotFound):
        return  # another API server was faster, or it is going away: the change brings us back here
