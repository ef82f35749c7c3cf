"""The client's contract on the real API server, and what a client lives through when that is killed."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator

import pytest

from apimachinery import errors
from apimachinery.client.api import ApiClient
from apimachinery.client.informer import InformerFactory
from apimachinery.scheme import BUILTIN, CONFIG_MAPS, CORE_EVENTS, Kind, kind_of
from tests.contract.client_contract import ClientContract, config_map, next_event
from tests.control_plane import ControlPlane
from tests.waiting import until


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture
async def client(plane: ControlPlane) -> AsyncIterator[ApiClient]:
    client = await ApiClient.connect(plane.access(), user_agent="test")
    yield client
    await client.close()


class TestRealServer(ClientContract):
    pass


async def test_a_second_view_is_answered_in_its_own_form(client: ApiClient) -> None:
    """Events of the new group and autoscalers of v1 are stored in another form, which no client of theirs sees."""
    events, v1 = kind_of("events", "events.k8s.io"), _autoscalers("v1")
    watch = client.watch(events, "default", field_selector="metadata.name=second")
    event = {"metadata": {"name": "second", "namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000000Z"}
    event |= {
        "note": "seen",
        "reason": "Seen",
        "action": "See",
        "type": "Normal",
        "regarding": {"namespace": "default"},
    }
    event |= {"reportingController": "example.com/eye", "reportingInstance": "eye-1"}
    made = await client.create(events, event, namespace="default")
    seen = (await next_event(watch, "ADDED")).object
    got = await client.get(events, "second", "default")
    (listed,) = (await client.list(events, "default", field_selector="metadata.name=second")).items
    assert made == seen == got == listed
    assert (got["apiVersion"], got["note"]) == ("events.k8s.io/v1", "seen") and "message" not in got
    stored = await client.get(CORE_EVENTS, "second", "default")
    assert (stored["apiVersion"], stored["message"]) == ("v1", "seen")
    patched = await client.patch(events, "second", "default", {"metadata": {"labels": {"a": "b"}}})
    assert (patched["note"], patched["metadata"]["labels"]) == ("seen", {"a": "b"})

    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3}
    scaler = {"metadata": {"name": "web", "namespace": "default"}, "spec": spec | {"targetCPUUtilizationPercentage": 7}}
    made = await client.create(v1, scaler, namespace="default")
    assert made["spec"]["targetCPUUtilizationPercentage"] == 7
    assert await client.update(v1, made) == made
    assert "metrics" in (await client.get(_autoscalers("v2"), "web", "default"))["spec"]


def _autoscalers(version: str) -> Kind:
    kind = BUILTIN.by_resource("autoscaling", version, "horizontalpodautoscalers")
    assert kind is not None
    return kind


async def test_informers_live_through_a_server_that_is_killed_and_moves(plane: ControlPlane, client: ApiClient) -> None:
    factory = InformerFactory(client)
    informer = factory.informer(CONFIG_MAPS, namespace="default")
    seen: list[str] = []
    informer.add_handler(lambda event, old, new: seen.append(f"{event} {(new or old or {})['metadata']['name']}"))
    running = asyncio.create_task(factory.run())
    await factory.wait_synced()
    await client.create(CONFIG_MAPS, config_map("before"), namespace="default")
    await until(lambda: "ADDED before" in seen)
    plane.server.program.kill()
    with pytest.raises(errors.ApiError):
        await client.get(CONFIG_MAPS, "before", "default")
    # Its inside ports are others now: they must be asked for again.
    plane.server = dataclasses.replace(plane.server)
    await asyncio.to_thread(plane.server.start)
    other = await ApiClient.connect(plane.access(), user_agent="other")
    await other.create(CONFIG_MAPS, config_map("after"), namespace="default")
    await until(lambda: "ADDED after" in seen)
    assert (await client.get(CONFIG_MAPS, "after", "default"))["metadata"]["name"] == "after"
    assert [s for s in seen if "before" in s or "after" in s] == ["ADDED before", "ADDED after"]
    running.cancel()
    await other.close()
