"""Upstream's "should support ... API operations" and "lifecycle of ..." tests: the same steps for each kind of a table.

Objects travel as protobuf. The lines are named after upstream's tests.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.control_plane import ApiServerProgram
from tests.e2e.conformance.api import JSON_PATCH, MERGE, STRATEGIC, Object, Refused, Resource, discovered, resource
from tests.waiting import eventually


def certificate_request() -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2e.example.com")])
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


@dataclass(frozen=True)
class Case:
    """``body`` is all but metadata, ``status`` what the status subresource is given, ``expected`` what the server adds
    (by dotted path), ``names`` those of the three objects when they may not be generated, ``status_metadata`` what of
    metadata a status write changes."""

    name: str
    resource: str
    body: Object
    group: str = ""
    status: Object | None = None
    names: Sequence[str] = ()
    subresources: Sequence[str] = ()
    status_metadata: Sequence[str] = ("labels", "annotations")
    expected: Object = field(default_factory=dict)


CASES = [Case(**case) for case in yaml.safe_load(Path(__file__).with_name("lifecycles.yaml").read_text())]


def at(obj: Any, path: str) -> Any:
    for part in path.split("."):
        obj = obj[int(part)] if isinstance(obj, list) else obj[part]
    return obj


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_lifecycle(plane: ApiServerProgram, space: str, case: Case) -> None:
    kind = resource(plane, case.resource, case.group).kind
    served = set(discovered(plane, kind))
    assert {case.resource, *(f"{case.resource}/{s}" for s in case.subresources)} <= served
    objects = Resource(plane, kind, space if kind.namespaced else "")
    body = dict(case.body)
    if body.get("spec", {}).get("request") == "CSR":
        body["spec"] |= {"request": certificate_request()}
    made = _create(objects, case, body, space)
    _read(objects, made, body, space)
    _write(objects, made, space)
    if case.status is not None:
        _status(objects, made["metadata"]["name"], dict(case.status), case.status_metadata)
    _delete(objects, made["metadata"]["name"], space)


def _create(objects: Resource, case: Case, body: Object, label: str) -> Object:
    """Three objects; the last one."""
    for number in range(3):
        meta: Object = {"labels": {"e2e": label, "special": str(number)}}
        meta |= {"name": case.names[number]} if case.names else {"generateName": "e2e-example-"}
        made = objects.create({"metadata": meta, **body})
    for path, value in case.expected.items():
        assert at(made, path) == value
    for part, value in body.items():
        assert_within(value, made[part], part)
    return made


def assert_within(wanted: Any, found: Any, path: str) -> None:
    """All that was sent came back."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            assert key in found, f"{path}.{key} is lost"
            assert_within(value, found[key], f"{path}.{key}")
    elif isinstance(wanted, list):
        assert len(wanted) == len(found), path
        for index, value in enumerate(wanted):
            assert_within(value, found[index], f"{path}[{index}]")
    else:
        assert wanted == found, path


def _read(objects: Resource, made: Object, body: Object, label: str) -> None:
    name = made["metadata"]["name"]
    assert objects.get(name)["metadata"]["uid"] == made["metadata"]["uid"]
    assert len(objects.names(labelSelector=f"e2e={label}")) == 3
    assert name in objects.everywhere().names(labelSelector=f"e2e={label}")
    assert objects.names(fieldSelector=f"metadata.name={name}") == [name]
    with pytest.raises(Refused) as refused:
        objects.create({**body, "metadata": {"name": name}})
    assert (refused.value.code, refused.value.reason) == (409, "AlreadyExists")


def _write(objects: Resource, made: Object, label: str) -> None:
    name = made["metadata"]["name"]
    version = objects.listing(labelSelector=f"e2e={label}")["metadata"]["resourceVersion"]
    watch = objects.watch(resourceVersion=version, labelSelector=f"e2e={label}", allowWatchBookmarks=True)
    patched = objects.patch(name, {"metadata": {"annotations": {"patched": "true"}}}, MERGE)
    assert patched["metadata"]["annotations"]["patched"] == "true"
    objects.patch(name, {"metadata": {"labels": {"strategic": "yes"}}}, STRATEGIC)
    operation = {"op": "add", "path": "/metadata/annotations/json", "value": "yes"}
    fresh = objects.patch(name, [operation], JSON_PATCH)
    fresh["metadata"]["annotations"]["updated"] = "true"
    stale = {**fresh, "metadata": {**fresh["metadata"], "resourceVersion": made["metadata"]["resourceVersion"]}}
    with pytest.raises(Refused) as refused:
        objects.update(stale)
    assert (refused.value.code, refused.value.reason) == (409, "Conflict")
    updated = eventually(lambda: _updated(objects, fresh))
    assert (
        updated["metadata"]["annotations"] | {"patched": "true", "json": "yes", "updated": "true"}
        == (updated["metadata"]["annotations"])
    )
    last = watch.until(lambda kind, obj: "updated" in (obj["metadata"].get("annotations") or {}))
    assert last["metadata"]["name"] == name
    assert int(last["metadata"]["resourceVersion"]) > int(version)
    watch.close()
    dry = objects.patch(name, {"metadata": {"annotations": {"dry": "run"}}}, MERGE, dryRun="All")
    assert dry["metadata"]["annotations"]["dry"] == "run"
    assert "dry" not in objects.get(name)["metadata"]["annotations"]


def _updated(objects: Resource, wanted: Object) -> Object:
    """An update of the latest state, as a controller may write in between."""
    now = objects.get(wanted["metadata"]["name"])
    now["metadata"]["annotations"]["updated"] = "true"
    return objects.update(now)


def _status(objects: Resource, name: str, status: Object, may_change: Sequence[str]) -> None:
    """The status subresource changes the status and ``may_change`` of metadata only, and the main one does not."""
    body = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": status}
    patched = objects.patch(name, body, MERGE, "status")
    assert_within(status, patched["status"], "status")
    assert ("patchedstatus" in patched["metadata"].get("annotations", {})) == ("annotations" in may_change)
    shown = objects.get(name, "status")
    assert shown["kind"] == objects.kind.kind

    def update() -> tuple[Object | None, Object]:
        now = objects.get(name)
        now["metadata"]["labels"]["viastatus"] = "yes"
        now["status"] = {**now["status"], **status}
        return now.get("spec"), objects.update({**now, "spec": {**(now.get("spec") or {})}}, "status")

    before, updated = eventually(update)  # a controller may have changed the spec since the patch, but not in between
    assert_within(status, updated["status"], "status")
    assert updated.get("spec") == before
    assert ("viastatus" in updated["metadata"]["labels"]) == ("labels" in may_change)
    ignored = objects.patch(name, {"status": {"phase": "Bogus", "observedGeneration": 77}}, MERGE)
    assert ignored["status"].get("observedGeneration") != 77
    assert ignored["status"].get("phase") != "Bogus"


def _delete(objects: Resource, name: str, label: str) -> None:
    version = objects.listing()["metadata"]["resourceVersion"]
    watch = objects.watch(resourceVersion=version, labelSelector=f"e2e={label}")
    with pytest.raises(Refused) as refused:
        objects.delete(name, preconditions={"uid": "no-such-uid"})
    assert refused.value.code == 409
    objects.delete(name, gracePeriodSeconds=0, propagationPolicy="Background")
    eventually(lambda: objects.gone(name))
    gone = watch.until(lambda kind, obj: kind == "DELETED")
    assert gone["metadata"]["name"] == name
    watch.close()
    objects.delete_collection({"propagationPolicy": "Background"}, labelSelector=f"e2e={label}")
    eventually(lambda: not objects.names(labelSelector=f"e2e={label}"))
