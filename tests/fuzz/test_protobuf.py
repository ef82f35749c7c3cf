"""Bodies in Kubernetes' protobuf that are cut, mutated, nested without end, or lie about their lengths."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from apimachinery import scheme
from apimachinery.protobuf.decoder import _facts
from tests.fuzz.test_bodies import MAPS, fine
from tests.fuzz.victim import Victim

FACTS: dict[str, Any] = _facts()
PROTOBUF = [("Content-Type", "application/vnd.kubernetes.protobuf")]


def test_mutated_bodies(victim: Victim, effort: int) -> None:
    kinds = [k for k in scheme.KINDS if "create" in k.verbs and f"{k.api_version} {k.kind}" in FACTS["kinds"]]

    @settings(settings.get_profile("attack"), max_examples=120 * effort)
    @given(st.sampled_from(kinds), st.randoms(use_true_random=False))
    def attack(kind: scheme.Kind, rng: random.Random) -> None:
        data = bytearray(
            body_of(kind.api_version, kind.kind, message_bytes(FACTS["kinds"][f"{kind.api_version} {kind.kind}"], rng))
        )
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(data))
            match rng.randrange(4):
                case 0:
                    data[at] = rng.randrange(256)
                case 1:
                    del data[at:]
                case 2:
                    data[at:at] = rng.randbytes(rng.randrange(6))
                case 3:
                    data[at] = 0xFF
            if not data:
                break
        fine(
            victim.call("POST", f"{kind.path('default')}?dryRun=All", bytes(data), PROTOBUF),
            (kind.resource, bytes(data)),
        )

    attack()


def test_depth_and_lengths(victim: Victim) -> None:
    schema = b"\x0a\x00"
    for _ in range(5_000):  # JSONSchemaProps in JSONSchemaProps: field 27, not
        schema = b"\xda\x01" + varint(len(schema)) + schema
    bodies = [
        b"k8s\0", b"k8s\0" + b"\xff" * 20, b"k8s\0\x0a\xff\xff\xff\xff\x0f", b"k8s\0\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", b"k8s\1\x0a\x00",
        body_of("v1", "ConfigMap", b"\x0a\xff\xff\xff\x7f"), body_of("v1", "ConfigMap", b"\x12" * 10_000), body_of("v1", "ConfigMap", b"\x0b" * 10_000),
        body_of("v1", "ConfigMap", b"\x0a\x05\x0a\x03\xff\xfe\xfd"), body_of("", "", b""), body_of("v1", "Nothing", b""), body_of("v1", "Pod", b"\x08\x01"),
        body_of("apiextensions.k8s.io/v1", "CustomResourceDefinition", b"\x12" + varint(len(schema)) + schema), b"k8s\0" + b"\x12\x00" * 100_000,
    ]  # fmt: skip
    for body in bodies:
        for path in (MAPS, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"):
            fine(victim.call("POST", f"{path}?dryRun=All", body, PROTOBUF), body[:100])


def delimited(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def body_of(api_version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\0" + delimited(1, delimited(1, api_version.encode()) + delimited(2, kind.encode())) + delimited(2, raw)


def message_bytes(message: str, rng: random.Random, depth: int = 5) -> bytes:
    """Some fields of a message, mostly with the wire types and texts that they should have."""
    fields = list(FACTS["messages"].get(message, {}).items())
    out = b""
    for number, (_, kind, _) in rng.sample(fields, min(len(fields), rng.randrange(4))):
        kind = kind.removeprefix("map ")
        if kind in ("bool", "int32", "int64") and rng.randrange(9):
            out += varint(int(number) << 3) + varint(rng.choice([0, 1, 2**31, 2**63, 2**64 - 1]))
        elif kind == "float64" and rng.randrange(9):
            out += varint(int(number) << 3 | 1) + rng.randbytes(8)
        elif kind in FACTS["messages"] and depth:
            out += delimited(int(number), message_bytes(kind, rng, depth - 1))
        else:
            out += delimited(
                int(number),
                rng.choice([b"", b"x", b"1", b"\xff", b"{}", b"null", b"\x0a\x01x", b"\x08\x01", rng.randbytes(9)]),
            )
    return out


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])
