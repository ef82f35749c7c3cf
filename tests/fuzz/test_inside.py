"""Garbage on the inside gRPC, from a caller with a valid token: each call ends with an answer, and the server goes on."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apimachinery.rpc import CLIENT_OPTIONS
from protos.kubeto.v1 import apiserver_pb2 as pb
from tests.fuzz import shapes, test_requests
from tests.fuzz.test_bodies import encoded
from tests.fuzz.victim import Victim

NEVER = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED)
METADATA = (("authorization", "Bearer admin-token"),)


@pytest.fixture(scope="module")
def channel(victim: Victim) -> Iterator[grpc.Channel]:
    command = victim.server.program.command
    port = command[command.index("--grpc-token-port") + 1]
    credentials = grpc.ssl_channel_credentials(Path(victim.server.ca_file).read_bytes())
    options = [*CLIENT_OPTIONS, ("grpc.ssl_target_name_override", "localhost")]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as opened:
        yield opened


def call(channel: grpc.Channel, method: str, data: bytes, metadata: Any = METADATA) -> tuple[grpc.StatusCode, bytes]:
    """The status and the reply, both as they come."""
    stub = channel.unary_unary(f"/kubeto.v1.ApiServer/{method}")
    try:
        return grpc.StatusCode.OK, stub(data, timeout=15, metadata=metadata)
    except grpc.RpcError as error:
        return error.code(), (error.details() or "").encode()


_texts = st.sampled_from(
    ["", "default", "x", "..", "/", "a/b", "é", "*", "0", "v1", "v2", "apps", "status", "scale", "log", "proxy", "\n"]
)
_resources = st.builds(
    pb.Resource,
    group=_texts,
    version=_texts,
    resource=st.sampled_from(["configmaps", "pods", "events", "nodes", "services", "tokenreviews", "", "x"]),
)
_refs = st.builds(pb.ObjectRef, resource=_resources, namespace=_texts, name=_texts, subresource=_texts)
_bodies = shapes.junk.map(encoded) | st.sampled_from(
    [b"", b"{", b"[]", b'{"metadata":[]}', b'{"metadata":{"name":"x"}}', b"\xff", b'{"a":' * 900 + b"1" + b"}" * 900]
)
_writes = st.builds(
    pb.Write,
    verb=st.integers(0, 9),
    ref=_refs,
    body=_bodies,
    patch_type=st.sampled_from(
        [
            "",
            "x",
            *(
                "application/" + t
                for t in ("json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml")
            ),
        ]
    ),
    field_manager=_texts,
    dry_run=st.booleans(),
    force=st.booleans(),
)
_selections = st.builds(
    pb.Selection,
    resource=_resources,
    namespace=_texts,
    label_selector=st.sampled_from([s for s in test_requests.SELECTORS if len(s) < 500]),
    field_selector=st.sampled_from([s for s in test_requests.SELECTORS if len(s) < 500]),
)
_versions = st.sampled_from([n for n in test_requests.NUMBERS if len(n) != 19])
MESSAGES = {
    "Get": st.builds(pb.GetRequest, ref=_refs, resource_version=_versions),
    "List": st.builds(
        pb.ListRequest,
        selection=_selections,
        resource_version=_versions,
        resource_version_match=_texts,
        limit=st.integers(-(2**63), 2**63 - 1),
        continue_token=st.sampled_from(test_requests.TOKENS[:5]),
    ),
    "Write": st.builds(pb.WriteRequest, writes=st.lists(_writes, max_size=4)),
    "Bind": st.builds(
        pb.BindRequest,
        bindings=st.lists(st.builds(pb.Binding, namespace=_texts, pod=_texts, node=_texts, pod_uid=_texts), max_size=3),
    ),
}


@pytest.mark.parametrize("method", MESSAGES)
def test_odd_messages(victim: Victim, channel: grpc.Channel, effort: int, method: str) -> None:
    @settings(settings.get_profile("attack"), max_examples=80 * effort)
    @given(MESSAGES[method])
    def attack(message: Any) -> None:
        code, reply = call(channel, method, message.SerializeToString())
        assert code not in NEVER, (method, code, reply, message)
        if method == "Write" and code is grpc.StatusCode.OK:
            for result in pb.WriteReply.FromString(reply).results:
                assert b'"code":500' not in result.error, (message, result)

    attack()


def test_bytes_that_are_no_message(victim: Victim, channel: grpc.Channel) -> None:
    """gRPC itself answers those; all that matters is that it does."""
    rng = random.Random(3)
    for method in (*MESSAGES, "Nothing"):
        for _ in range(40):
            call(channel, method, rng.randbytes(rng.randrange(200)))
    assert call(channel, "List", MESSAGES_OK)[0] is grpc.StatusCode.OK


MESSAGES_OK = pb.ListRequest(
    selection=pb.Selection(resource=pb.Resource(version="v1", resource="nodes"))
).SerializeToString()


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer x", "Basic x", "Bearer " + "x" * 5_000, "Bearer user-token"])
def test_callers_without_rights(victim: Victim, channel: grpc.Channel, token: str) -> None:
    expected = grpc.StatusCode.PERMISSION_DENIED if "user" in token else grpc.StatusCode.UNAUTHENTICATED
    assert call(channel, "List", MESSAGES_OK, (("authorization", token),) if token else ())[0] is expected


def test_watches_opened_and_closed_at_random(victim: Victim, channel: grpc.Channel, effort: int) -> None:
    @settings(settings.get_profile("attack"), max_examples=15 * effort)
    @given(st.lists(st.tuples(st.integers(0, 3), _selections | st.none(), _versions), max_size=12))
    def attack(steps: Any) -> None:
        def requests() -> Iterator[bytes]:
            for number, selection, version in steps:
                message = pb.WatchRequest(id=number, resource_version=version)
                if selection is not None:
                    message.open.CopyFrom(selection)
                yield message.SerializeToString()

        stream = channel.stream_stream("/kubeto.v1.ApiServer/Watch")(requests(), metadata=METADATA, timeout=10)
        try:
            for reply in stream:
                for event in pb.WatchReply.FromString(reply).events:
                    assert b'"code":500' not in event.json
                if len(steps) % 2:
                    stream.cancel()
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.CANCELLED,), error

    attack()
