"""The client's contract on the real API server, and what a client lives through when that is killed."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from apimachinery import errors
from apimachinery.client.api import ApiClient
from apimachinery.client.informer import InformerFactory
from apimachinery.scheme import CONFIG_MAPS
from tests.contract.client_contract import ClientContract, config_map, until
from tests.integration.control_plane import ControlPlane, control_plane


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture
async def client(plane: ControlPlane) -> AsyncIterator[ApiClient]:
    client = await ApiClient.connect(plane.access(), user_agent="test")
    yield client
    await client.close()


class TestRealServer(ClientContract):
    pass


async def test_informers_live_through_a_server_that_is_killed_and_moves(plane: ControlPlane, client: ApiClient) -> None:
    factory = InformerFactory(client)
    informer = factory.informer(CONFIG_MAPS, namespace="default")
    seen: list[str] = []
    informer.add_handler(lambda event, old, new: seen.append(f"{event} {(new or old or {})['metadata']['name']}"))
    running = asyncio.create_task(factory.run())
    await factory.wait_synced()
    await client.create(CONFIG_MAPS, config_map("before"), namespace="default")
    await until(lambda: "ADDED before" in seen)
    plane.kill("apiserver")
    with pytest.raises(errors.ApiError):
        await client.get(CONFIG_MAPS, "before", "default")
    # Its inside ports are others now: they must be asked for again.
    plane.start_apiserver(f"--grpc-port={plane.port + 6}", f"--grpc-token-port={plane.port + 7}")
    plane.wait_ready()
    other = await ApiClient.connect(plane.access(), user_agent="other")
    await other.create(CONFIG_MAPS, config_map("after"), namespace="default")
    await until(lambda: "ADDED after" in seen)
    assert (await client.get(CONFIG_MAPS, "after", "default"))["metadata"]["name"] == "after"
    assert [s for s in seen if "before" in s or "after" in s] == ["ADDED before", "ADDED after"]
    running.cancel()
    await other.close()
