"""What writes record of their managers, and the parts of an applied configuration that a subresource takes."""

from typing import Any

import orjson

from apimachinery import patch, schema, scheme
from master.apiserver.registry import managed_fields, parts
from master.apiserver.registry.answers import WriteOptions
from master.apiserver.registry.strategy import Strategy

Object = dict[str, Any]
SCHEMAS = schema.load()
MAPS = Strategy(scheme.CONFIG_MAPS)
DEPLOYMENTS = Strategy(scheme.DEPLOYMENTS)


def made(manager: str = "ann", **data: str) -> Object:
    obj: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "uid": "u"}, "data": data}
    managed_fields.record_create(SCHEMAS, MAPS, obj, WriteOptions(field_manager=manager))
    return obj


def changed(old: Object, managed: Any = None, subresource: str = "", **data: str) -> Object:
    obj: Object = orjson.loads(orjson.dumps(old)) | {"data": data}
    if managed is not None:
        obj["metadata"]["managedFields"] = managed
    managed_fields.record_update(SCHEMAS, MAPS, subresource, old, obj, WriteOptions(field_manager="bob"))
    return obj


def managers(obj: Object) -> dict[str, Object]:
    return {e["manager"]: e["fieldsV1"] for e in obj["metadata"].get("managedFields", ())}


def test_each_writer_has_its_own_fields() -> None:
    after = changed(made(x="1", y="1"), x="1", y="2", z="3")
    assert managers(after) == {"ann": {"f:data": {".": {}, "f:x": {}}}, "bob": {"f:data": {"f:y": {}, "f:z": {}}}}


def test_sets_are_stored_sorted() -> None:
    """Go's clients compare FieldsV1 as bytes, and sort what passes through an unstructured object."""
    apply = patch.FieldManager("eve", "v1", "2030-01-01T00:00:00Z")
    wanted = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"labels": {"b": "", "a": ""}},
        "data": {"z": "", "w": ""},
    }
    applied = patch.apply(made(y="1", x="1"), wanted, SCHEMAS.of(scheme.CONFIG_MAPS), apply)
    written = changed(applied, y="2", x="1", **dict.fromkeys("zwqp", ""))
    sets = list(managers(written).values())
    assert len(sets) == 3
    assert [orjson.dumps(s) for s in sets] == [orjson.dumps(s, option=orjson.OPT_SORT_KEYS) for s in sets]


def test_an_empty_list_ends_tracking_for_good() -> None:
    for reset in ([], [{}]):
        after = changed(made(x="1"), reset, x="2")
        assert "managedFields" not in after["metadata"]
        assert "managedFields" not in changed(after, x="3")["metadata"]


def test_only_main_writes_set_managed_fields_themselves() -> None:
    given = made(x="1")["metadata"]["managedFields"]
    given[0]["manager"] = "cat"
    assert set(managers(changed(made(x="1"), given, x="1"))) == {"cat"}
    assert set(managers(changed(made(x="1"), given, "status", x="1"))) == {"ann"}
    assert set(managers(changed(made(x="1"), [{"manager": "no entry"}], x="1"))) == {"ann"}


def test_a_write_that_changes_nothing_is_the_same() -> None:
    old = made(x="1")
    later = orjson.loads(orjson.dumps(old))
    later["metadata"]["managedFields"][0]["time"] = "2030-01-01T00:00:00Z"
    assert managed_fields.is_same(later, old)
    assert not managed_fields.is_same(changed(old, x="2"), old)


def test_admission_may_not_leave_nonsense() -> None:
    obj, warnings = made(x="1"), list[str]()
    recorded = obj["metadata"]["managedFields"]
    obj["metadata"]["managedFields"] = [{"manager": "webhook"}]
    managed_fields.keep_valid(obj, recorded, warnings)
    assert obj["metadata"]["managedFields"] is recorded
    assert len(warnings) == 1


def test_status_is_not_who_creates_its() -> None:
    obj: Object = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 1}}
    obj["status"] = {"replicas": 1}
    managed_fields.record_create(SCHEMAS, DEPLOYMENTS, obj, WriteOptions())
    assert managers(obj) == {"unknown": {"f:spec": {"f:replicas": {}}}}


def test_a_subresource_takes_its_part() -> None:
    spec: Object = {"replicas": 1, "containers": [{"name": "c", "image": "i", "resources": {}}]}
    said: Object = {"metadata": {"name": "n", "finalizers": ["x"], "labels": {}}, "spec": spec, "status": {"a": 1}}
    head = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "n"}}

    def applied(subresource: str) -> Object:
        return parts.applicable(scheme.DEPLOYMENTS, subresource, said)

    assert applied("") == {k: v for k, v in said.items() if k != "status"}
    assert applied("status") == head | {"metadata": {"name": "n", "labels": {}}, "status": {"a": 1}}
    assert applied("scale") == head | {"spec": {"replicas": 1}}
    assert applied("resize") == head | {"spec": {"containers": [{"name": "c", "resources": {}}]}}
    assert applied("approval") == head | {"status": {}}
