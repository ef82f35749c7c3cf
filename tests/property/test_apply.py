"""Server-side apply: the algebra of its sets, and what applying must keep true whatever is applied."""

from typing import Any

from hypothesis import assume, given

from apimachinery import patch
from apimachinery.errors import Conflict
from apimachinery.patch import FieldManager, fields, structured
from apimachinery.patch.apply import decode
from tests.property.test_patch import POD, pods

Object = dict[str, Any]
ANN = FieldManager("ann", "v1", "2026-01-01T00:00:00Z")
BOB = FieldManager("bob", "v1", "2026-01-02T00:00:00Z")


def members(node: fields.Fields) -> set[str]:
    return set(fields.paths(node))


def bare(obj: Object) -> Object:
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}


def managed(obj: Object) -> dict[str, set[str]]:
    """Of an empty list of elements with names there is nothing to own: an object of nothing else counts as untracked."""
    entries = {e["manager"]: members(e["fieldsV1"]) for e in obj["metadata"].get("managedFields", ())}
    entries.pop("before-first-apply", None)
    return entries


@given(pods, pods, pods)
def test_sets_are_sets(one: Object, two: Object, three: Object) -> None:
    a, b = structured.field_set(one, POD), structured.compare(one, two, POD)[0]
    c = structured.created(three, POD, typed=True)
    for x, y in ((a, b), (b, c), (c, a)):
        assert members(fields.union(x, y)) == members(x) | members(y)
        assert members(fields.minus(x, y)) == members(x) - members(y)
        assert members(fields.both(x, y)) == members(x) & members(y)


@given(pods, pods)
def test_a_difference_covers_what_differs(old: Object, new: Object) -> None:
    changed, gone = structured.compare(old, new, POD)
    assert (old == new) == (not changed and not gone)
    back, lost = structured.compare(new, old, POD)
    assert members(gone) <= members(back)
    assert members(lost) <= members(changed)


@given(pods, pods)
def test_what_is_applied_is_there_and_owned(live: Object, wanted: Object) -> None:
    made = patch.apply(live, wanted, POD, ANN, force=True)
    merged = bare(made)
    assert structured.merge(merged, wanted, POD) == merged
    assert patch.apply(made, wanted, POD, ANN) == made
    metadata = {".metadata.name"}
    assert members(structured.field_set(wanted, POD)) - metadata == managed(made).get("ann", set())


@given(pods, pods, pods)
def test_nobody_owns_what_is_not_there(first: Object, second: Object, third: Object) -> None:
    live = patch.apply(patch.apply(None, first, POD, ANN), second, POD, BOB, force=True)
    new = third | {"metadata": third["metadata"] | {"managedFields": live["metadata"].get("managedFields", [])}}
    known = decode(new["metadata"]["managedFields"])
    assert known is not None
    entries = patch.tracked_update(live, new, known, POD, FieldManager("cat", "v1", "2026-01-03T00:00:00Z"))
    there = members(structured.whole(bare(new), POD))
    for entry in entries:
        assert members(entry["fieldsV1"]) <= there


@given(pods, pods)
def test_giving_up_is_never_having_applied(first: Object, second: Object) -> None:
    """Apply, and then apply nothing: what is left is what was there without it."""
    assume(second.get("spec", {}).get("containers") != [])  # nobody owns an empty list of named elements: it stays
    nothing = {"metadata": {"name": "p"}}
    base = patch.apply(None, first, POD, ANN)
    try:
        made = patch.apply(base, second, POD, BOB)
    except Conflict:
        return
    after = patch.apply(made, nothing, POD, BOB)
    assert structured.compare(_ordered(bare(base)), _ordered(bare(after)), POD)[0] == {}
    assert managed(after).get("ann") == managed(base).get("ann")


@given(pods, pods)
def test_managers_without_conflict_commute(first: Object, second: Object) -> None:
    try:
        one = patch.apply(patch.apply(None, first, POD, ANN), second, POD, BOB)
        two = patch.apply(patch.apply(None, second, POD, BOB), first, POD, ANN)
    except Conflict:
        return
    assert _ordered(bare(one)) == _ordered(bare(two))
    assert managed(one) == managed(two)


@given(pods, pods)
def test_force_settles_every_conflict(first: Object, second: Object) -> None:
    live = patch.apply(patch.apply(None, first, POD, ANN), second, POD, BOB, force=True)
    assert patch.apply(live, second, POD, BOB) == live


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _ordered(v) for k, v in sorted(value.items())}
    keyed = isinstance(value, list) and value and isinstance(value[0], dict)
    return sorted((_ordered(v) for v in value), key=repr) if keyed else value
