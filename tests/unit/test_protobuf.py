"""Protobuf bodies as Go clients write them, put together by hand from the wire format."""

import struct
from typing import Any

import pytest

from apimachinery import protobuf, schema, scheme
from apimachinery.errors import BadRequest
from apimachinery.protobuf.decoder import _facts
from apimachinery.schema.model import SCALARS


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: bytes | str | int | bool | float) -> bytes:
    """One field: text and bytes are length-delimited, numbers varints, floats fixed."""
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(int(value))
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def pairs(number: int, entries: dict[str, bytes | str]) -> bytes:
    return b"".join(field(number, field(1, k) + field(2, v)) for k, v in entries.items())


def body(api_version: str, kind: str, raw: bytes) -> bytes:
    about = field(1, api_version) + field(2, kind)
    return b"k8s\0" + field(1, about) + field(2, raw) + field(3, "") + field(4, "")


def test_a_pod() -> None:
    meta = field(1, "web") + field(2, "") + field(3, "default") + field(7, 0) + field(8, field(1, 0) + field(2, 0))
    meta += pairs(11, {"app": "web"})
    quantities = pairs(1, {"cpu": field(1, "500m")})
    port = field(1, "") + field(2, 0) + field(3, 8080) + field(4, "TCP") + field(5, "")
    action = field(1, "/healthz") + field(2, field(1, 1) + field(2, 0) + field(3, "http"))
    probe = field(1, field(2, action)) + field(2, 0) + field(3, 1)
    container = (
        field(1, "c") + field(2, "nginx") + field(5, "") + field(6, port) + field(8, quantities) + field(11, probe)
    )
    container += field(16, False) + field(17, False) + field(18, True)
    volume = field(1, "cfg") + field(2, field(19, field(1, field(1, "settings")) + field(3, 420)))
    spec = field(1, volume) + field(2, container) + field(3, "Always") + field(4, 0) + field(11, False)
    spec += field(13, False) + field(22, field(1, "k") + field(2, "Exists")) + field(22, field(1, "l"))
    assert protobuf.decode(body("v1", "Pod", field(1, meta) + field(2, spec) + field(3, b""))) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {
            "volumes": [{"name": "cfg", "configMap": {"name": "settings", "defaultMode": 420}}],
            "containers": [
                {
                    "name": "c",
                    "image": "nginx",
                    "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "500m"}},
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "timeoutSeconds": 1},
                    "tty": True,
                }
            ],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"key": "k", "operator": "Exists"}, {"key": "l"}],
        },
        "status": {},
    }


def test_pointers_keep_their_zero() -> None:
    spec = field(1, 0) + field(5, 0) + field(7, False)
    decoded = protobuf.decode(body("apps/v1", "Deployment", field(2, spec)))
    assert decoded["spec"] == {"replicas": 0}


def test_special_forms() -> None:
    secret = protobuf.decode(body("v1", "Secret", pairs(2, {"k": b"\x00\xff"}) + field(3, "Opaque")))
    assert (secret["data"], secret["type"]) == ({"k": "AP8="}, "Opaque")
    lease = protobuf.decode(body("coordination.k8s.io/v1", "Lease", field(2, field(4, field(1, 1) + field(2, 5000)))))
    assert lease["spec"] == {"renewTime": "1970-01-01T00:00:01.000005Z"}
    revision = protobuf.decode(body("apps/v1", "ControllerRevision", field(2, field(1, b'{"a":1}')) + field(3, 7)))
    assert (revision["data"], revision["revision"]) == ({"a": 1}, 7)
    context = field(2, field(14, field(4, -1) + varint(4 << 3 | 2) + varint(2) + b"\x05\x06"))
    group = protobuf.decode(body("v1", "Pod", context))
    assert group["spec"]["securityContext"] == {"supplementalGroups": [-1, 5, 6]}
    review = field(2, field(5, field(1, "scopes") + field(2, field(1, "a") + field(1, "b"))))
    asked = protobuf.decode(body("authorization.k8s.io/v1", "SubjectAccessReview", review))
    assert asked["spec"] == {"extra": {"scopes": ["a", "b"]}}


def test_json_schemas() -> None:
    props = field(5, "object") + field(
        29, field(1, "n") + field(2, field(5, "integer") + field(11, 0.0) + field(16, 0))
    )
    props += field(30, field(1, True)) + field(8, field(1, b'{"n":1}')) + field(24, field(1, field(5, "string")))
    props += field(44, field(1, "self.n > 0")) + field(40, False) + field(38, True)
    version = field(1, "v1") + field(2, True) + field(3, True) + field(4, field(1, props))
    crd = protobuf.decode(body("apiextensions.k8s.io/v1", "CustomResourceDefinition", field(2, field(7, version))))
    made = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert made == {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 0.0, "maxItems": 0}},
        "additionalProperties": True,
        "default": {"n": 1},
        "items": {"type": "string"},
        "x-kubernetes-validations": [{"rule": "self.n > 0"}],
        "x-kubernetes-preserve-unknown-fields": True,
    }


def test_options_of_any_group() -> None:
    options = body("apps/v1", "DeleteOptions", field(1, 0) + field(4, "Background"))
    assert protobuf.decode(options)["gracePeriodSeconds"] == 0
    assert protobuf.decode(body("example.com/v1", "DeleteOptions", b""))["kind"] == "DeleteOptions"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"a":1}',
        b"k8s\0\xff",
        body("v1", "Pod", b"\x0a\x05ab"),
        body("x/v1", "Foo", b""),
        body("v1", "Pod", b"\x0b"),
        body("v1", "Pod", field(1, field(1, b"\xff"))),
        body("v1", "Pod", field(1, 5)),
    ],
)
def test_what_is_no_message_is_a_bad_request(data: bytes) -> None:
    with pytest.raises(BadRequest):
        protobuf.decode(data)


def test_the_table_agrees_with_the_schema() -> None:
    """Every message that is a type of the schema has the same fields, lists and maps, and leaves the same zeros out."""
    facts, types = _facts(), schema.load().types
    checked = 0
    for kind in scheme.KINDS:
        message = facts["kinds"].get(f"{kind.api_version} {kind.kind}")
        found = schema.load().find(kind.api_version, kind.kind)
        assert message is not None and found is not None, kind
        checked += _compare(message, found, set())
    assert types is not None and checked > 2000


def _compare(message: str, found: schema.Schema, seen: set[str]) -> int:
    if message in seen or found.form != "object":
        return 0
    seen.add(message)
    checked = 0
    members = found.members()
    for name, kind, flags in _flat(message):
        member = members[name]
        assert (member.form == "list") == ("l" in flags or kind.endswith("Verbs")), (message, name)
        assert (member.form == "map") == kind.startswith("map "), (message, name)
        item = member.item if member.form in ("list", "map") else member
        inner = kind.removeprefix("map ")
        if member.form in SCALARS and member.form not in ("time", "microtime", "quantity", "intorstring"):
            assert (name in found.omits) == ("z" in flags), (message, name)
        checked += 1
        if item is not None and inner in _facts()["messages"]:
            checked += _compare(inner, item, seen)
    return checked


def _flat(message: str) -> list[Any]:
    out: list[Any] = []
    for name, kind, flags in _facts()["messages"][message].values():
        out += _flat(kind) if "i" in flags else [(name, kind, flags)]
    return out
