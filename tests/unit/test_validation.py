"""What each kind refuses, in upstream's words: a table of changes to valid objects, and what is told of them."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from apimachinery import patch, schema, scheme
from apimachinery.scheme import Kind
from master.apiserver.registry import metadata as rules
from master.apiserver.registry.catalog import Catalog
from master.apiserver.registry.kinds import STRATEGIES
from master.apiserver.registry.kinds.metadata import validate_metadata

Object = dict[str, Any]

HERE = Path(__file__).parent
VALID = yaml.safe_load((HERE.parent / "e2e/conformance/lifecycles.yaml").read_text())
TABLE = yaml.safe_load((HERE / "validation.yaml").read_text())
CATALOG = Catalog(STRATEGIES)
_MORE: dict[str, Object] = {
    "pods": {"spec": {"containers": [{"name": "c", "image": "i"}]}},
    "events.events.k8s.io": {},
}
_REQUEST = base64.b64encode(b"-----BEGIN CERTIFICATE REQUEST-----").decode()


def kind_of(name: str) -> Kind:
    resource, _, group = name.partition(".")
    return scheme.kind_of(resource, group)


def valid(name: str) -> Object:
    """A whole object as a client would send it, decoded."""
    kind = kind_of(name)
    own = (c["body"] for c in VALID if c["resource"] == kind.resource and c.get("group", "") == kind.group)
    body = patch.copy(_MORE[name] if name in _MORE else next(own))
    if kind.resource == "certificatesigningrequests":
        body["spec"]["request"] = _REQUEST
    meta = {"name": "2001:db2::1" if kind.resource == "ipaddresses" else "x", "uid": "u"}
    return {"metadata": meta | ({"namespace": "d"} if kind.namespaced else {}), **body}


def put(obj: Object, changes: Object) -> Object:
    for path, value in changes.items():
        *way, last = path.split(".")
        at: Any = obj
        for part in way:
            at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
        if value is None:
            at.pop(last, None)
        else:
            at[last] = value
    return obj


def stored(kind: Kind, obj: Object) -> Object:
    """A new object as the pipeline has it when it is validated."""
    strategy = CATALOG.strategy(kind)
    assert not [p for p in schema.load().check(kind, obj) if p.form == "type"]
    strategy.to_stored(obj)
    strategy.default(obj)
    strategy.prepare_create(obj)
    return obj


def told(case: Object) -> list[str]:
    kind, when = kind_of(case["kind"]), case.get("when", "create")
    strategy = CATALOG.strategy(kind)
    old = stored(kind, put(valid(case["kind"]), case.get("from", {})))
    if when == "update" and kind.resource == "services":
        put(old, {"spec.clusterIP": "10.0.0.1", "spec.clusterIPs": ["10.0.0.1"]})
    new = stored(kind, put(valid(case["kind"]), case["set"]))
    if when != "create":
        new = put(patch.copy(old), case["set"])
    if when == "status":
        causes = strategy.validate_status(new, old)
    else:
        causes = validate_metadata(new, kind) + strategy.validate(new)
        if when == "create":
            causes += strategy.validate_create(new)
        else:
            causes += rules.immutable(strategy.immutable, new, old) + strategy.validate_update(new, old)
    return [f"{c.field}: {c.message}" for c in causes]


@pytest.mark.parametrize("case", TABLE, ids=lambda c: f"{c['kind']}-{c.get('when', 'create')}-{next(iter(c['set']))}")
def test_what_is_told_of_a_change(case: Object) -> None:
    found = told(case)
    assert len(found) == len(case["told"]), found
    for wanted, have in zip(case["told"], found, strict=True):
        assert re.fullmatch(re.escape(wanted).replace(r"\*", ".*"), have), have


@pytest.mark.parametrize("name", sorted({c["kind"] for c in TABLE} - {"events.events.k8s.io"}))
def test_the_objects_that_are_changed_are_valid(name: str) -> None:
    assert told({"kind": name, "set": {}}) == []
    assert told({"kind": name, "set": {}, "when": "update"}) == []
