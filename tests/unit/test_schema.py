from pathlib import Path
from typing import Any

import orjson
import pytest

from apimachinery import schema, scheme
from apimachinery.schema import compile as compiling
from apimachinery.types import generate

SCHEMAS = schema.load()


def problems(obj: dict[str, Any], kind: scheme.Kind = scheme.PODS) -> list[str]:
    return [p.message for p in SCHEMAS.check(kind, obj)]


def test_every_kind_has_a_schema() -> None:
    assert [k.kind for k in scheme.KINDS if SCHEMAS.find(k.api_version, k.kind) is None] == []


def test_a_good_object_is_left_alone() -> None:
    pod = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}]}]}}
    assert problems(pod) == []


def test_unknown_fields_are_named_and_dropped() -> None:
    pod = {"foo": 1, "metadata": {"name": "a", "extra": 1}, "spec": {"containers": [{"name": "c", "bar": 2}]}}
    assert problems(pod) == [
        'unknown field "foo"',
        'unknown field "metadata.extra"',
        'unknown field "spec.containers[0].bar"',
    ]
    assert pod == {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}]}}


def test_what_go_leaves_out_is_left_out() -> None:
    container = {
        "name": "c", "stdin": False, "workingDir": "", "command": [], "env": [{"name": "A", "value": ""}],
        "ports": [{"containerPort": 80, "hostPort": 0}], "resources": {"limits": {}, "requests": {"cpu": "1"}},
        "securityContext": {"privileged": False, "runAsUser": 0}, "startupProbe": {"grpc": {"port": 1, "service": ""}},
    }  # fmt: skip
    pod = {
        "metadata": {"name": "a", "labels": {}, "annotations": {"empty": ""}, "finalizers": []},
        "spec": {
            "hostNetwork": False, "nodeName": "", "terminationGracePeriodSeconds": 0, "securityContext": {},
            "automountServiceAccountToken": False, "containers": [container],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/", "type": ""}}],
        },
    }  # fmt: skip
    assert problems(pod) == []
    assert pod == {
        "metadata": {"name": "a", "annotations": {"empty": ""}},
        "spec": {
            "terminationGracePeriodSeconds": 0, "securityContext": {}, "automountServiceAccountToken": False,
            "containers": [{
                "name": "c", "env": [{"name": "A"}], "ports": [{"containerPort": 80}],
                "resources": {"requests": {"cpu": "1"}}, "securityContext": {"privileged": False, "runAsUser": 0},
                "startupProbe": {"grpc": {"port": 1, "service": ""}},
            }],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/", "type": ""}}],
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("PersistentVolumeClaim", {"spec": {"storageClassName": ""}}),
        ("Lease", {"spec": {"holderIdentity": ""}}),
        ("Deployment", {"spec": {"replicas": 0, "selector": {}, "template": {}}}),
        ("NetworkPolicy", {"spec": {"podSelector": {}, "ingress": [{}]}}),
        ("EndpointSlice", {"addressType": "IPv4", "endpoints": [], "ports": [{"name": "", "port": 1}]}),
        ("Role", {"rules": []}),
    ],
)
def test_what_says_something_stays(kind: str, body: dict[str, Any]) -> None:
    said = orjson.dumps(body)
    assert problems(body, next(k for k in scheme.KINDS if k.kind == kind)) == []
    assert orjson.dumps(body) == said


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("nodeName", 5, "json: cannot unmarshal number into Go struct field PodSpec.spec.nodeName of type string"),
        ("priority", "1", "json: cannot unmarshal string into Go struct field PodSpec.spec.priority of type int32"),
        (
            "priority",
            2**31,
            f"json: cannot unmarshal number {2**31} into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            "hostNetwork",
            "x",
            "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool",
        ),
        (
            "containers",
            {},
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            "nodeSelector",
            {"a": 1},
            "json: cannot unmarshal number into Go struct field PodSpec.spec.nodeSelector of type string",
        ),
        (
            "overhead",
            {"cpu": "x"},
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ],
)
def test_type_errors(path: str, value: Any, message: str) -> None:
    assert problems({"spec": {path: value}}) == [message]


def test_values_are_written_one_way() -> None:
    pod: dict[str, Any] = {
        "metadata": {"creationTimestamp": None, "deletionTimestamp": "2026-01-01T01:00:00.5+01:00"},
        "spec": {"nodeName": None, "overhead": {"cpu": 0.5, "memory": "1024Mi"}},
    }
    assert problems(pod) == []
    assert pod == {
        "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"overhead": {"cpu": "500m", "memory": "1Gi"}},
    }
    lease = {"spec": {"renewTime": "2026-01-01T00:00:00Z"}}
    assert problems(lease, scheme.LEASES) == []
    assert lease["spec"]["renewTime"] == "2026-01-01T00:00:00.000000Z"
    assert problems({"data": {"a": "%"}}, scheme.SECRETS) == ["illegal base64 data at input byte 0"]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"a":1,"b":{"c":[{"d":1}]}}', []),
        (b'{"spec":{"a":1,"b":2,"a":3}}', ["spec.a"]),
        (b'{"l":[{"x":1},{"x":1,"x":2,"x":3}],"l":[]}', ["l[1].x", "l"]),
        (b'{"a" : 1, "a" :2}', ["a"]),
        (b'{"a":"x\\":y","b":"\\":"}', []),
    ],
)
def test_duplicates(body: bytes, found: list[str]) -> None:
    assert schema.duplicate_fields(body, orjson.loads(body)) == found


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = compiling.load_table()
    path = compiling.cache_path("schema.json")
    assert path.exists()
    assert compiling.load_table() == first
    path.write_bytes(b"{torn")
    assert compiling.load_table() == first
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no/such")
    assert compiling.load_table() == first


def test_merge_facts() -> None:
    spec = SCHEMAS.of(scheme.PODS).members()["spec"].members()
    assert spec["containers"].merge_key == "name"
    assert spec["volumes"].strategies == ("merge", "retainKeys")
    assert spec["containers"].item is not None
    assert spec["containers"].item.members()["ports"].list_keys == ("containerPort", "protocol")
    assert spec["nodeSelector"].atomic


def test_generated_types_are_up_to_date() -> None:
    assert generate.TARGET.read_text() == generate.generate()
