"""kubeto-cri-docker killed with -9 after each single call that it makes of its engine, before it has the answer."""

import asyncio
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import grpc
import pytest

from protos.cri.runtime.v1 import api_pb2 as cri
from tests.docker_runtime import Cri, Shim, connected, engine_is_here, log_lines
from tests.fakes.engine_proxy import engine_proxy

pytestmark = [pytest.mark.docker, pytest.mark.root]
T = TypeVar("T")
# What the shim looks at when it starts, and while nobody asks for anything.
LOOKS = ("GET /info", "GET /events", "GET /containers/json", "GET /images")


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Shim]:
    if not engine_is_here():
        pytest.skip("needs root, Docker and the test images")
    shim = Shim(tmp_path, "cni")
    shim.prepare()
    engine = shim.docker_host
    yield shim
    shim.docker_host = engine
    shim.clean_up()


class Killer:
    """Kills the shim at each kind of call once."""

    def __init__(self, shim: Shim) -> None:
        self.shim = shim
        self.armed = False
        self.killed: list[str] = []

    def on_answer(self, call: str) -> bool:
        if not self.armed or call in self.killed or call.startswith(LOOKS):
            return True
        self.killed.append(call)
        self.armed = False
        self.shim.kill(signal.SIGKILL)
        return False

    async def persist(self, verb: Callable[[Cri], Awaitable[T]]) -> T:
        """As a kubelet does: repeat it until it is done, with another shim when one died."""
        while True:
            if not self.shim.process:
                self.shim.start()
            async with connected(self.shim) as client:
                self.armed = True
                try:
                    return await verb(client)
                except grpc.aio.AioRpcError:
                    if self.shim.process:
                        raise
                finally:
                    self.armed = False


async def test_a_pods_life_with_a_kill_after_every_call(shim: Shim, tmp_path: Path) -> None:
    killer = Killer(shim)
    async with asyncio.timeout(120), engine_proxy(tmp_path, killer.on_answer) as address:
        shim.docker_host = address
        shim.start()
        async with connected(shim) as client:
            pod, config = client.pod(), client.container(["/bin/sh", "-c", "echo once; sleep 1000"])
        sandbox = await killer.persist(lambda c: c.run_pod(pod))
        assert len(shim.addresses()) == 1 and ours(shim) == {sandbox}
        create = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=config, sandbox_config=pod)
        container = (await killer.persist(lambda c: c.runtime.CreateContainer(create))).container_id
        assert ours(shim) == {sandbox, container}
        start = cri.StartContainerRequest(container_id=container)
        await killer.persist(lambda c: c.runtime.StartContainer(start))
        status = await killer.persist(lambda c: c.status(container))
        assert status.state == cri.CONTAINER_RUNNING
        stop = cri.StopContainerRequest(container_id=container, timeout=0)
        await killer.persist(lambda c: c.runtime.StopContainer(stop))
        assert (await killer.persist(lambda c: c.ended(container))).exit_code == 137
        assert log_lines(status.log_path) == [("stdout", "F", "once\n")]
        await killer.persist(lambda c: c.remove_pod(sandbox))
        assert ours(shim) == set() and shim.addresses() == set()
    done = {
        "POST /containers/create",
        "POST /containers/ID/start",
        "GET /containers/ID/json",
        "POST /containers/ID/kill",
    }
    assert done | {"DELETE /containers/ID"} <= set(killer.killed)


def ours(shim: Shim) -> set[str]:
    listing = ["docker", "ps", "-aq", "--no-trunc", "--filter", f"label=io.kubeto.node={shim.node}"]
    return set(subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split())
