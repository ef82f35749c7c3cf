"""A running controller manager on a FakeCluster."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from apimachinery.client.api import ApiClient
from apimachinery.client.informer import InformerFactory
from apimachinery.clock import ManualClock
from apimachinery.config import ClusterAccess
from master.controller_manager.__main__ import run_controllers
from master.controller_manager.frame import Context
from master.controller_manager.options import Options
from tests.fakes.cluster import FakeCluster
from tests.fakes.rpc import FakeRpc


@contextlib.asynccontextmanager
async def running(cluster: FakeCluster, *controllers: str, **flags: Any) -> AsyncIterator[None]:
    """Run these controllers (by their upstream names) with these options for the length of the block."""
    client = ApiClient(FakeRpc(cluster), user_agent="kube-controller-manager")
    options = Options(kubeconfig="", controllers=controllers, **flags)
    access = ClusterAccess(server="https://fake")
    context = Context(client, access, options, InformerFactory(client, clock=cluster.clock), clock=cluster.clock)
    task = asyncio.create_task(run_controllers(context))
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


async def settle(cluster: FakeCluster, quiet_turns: int = 200) -> None:
    """Until nothing has been written for a while: what must not happen has had its chance to.

    A manual clock moves on by 10 ms a turn, so that retries come.
    """
    turns, version = 0, cluster.version
    while turns < quiet_turns:
        await asyncio.sleep(0)
        if isinstance(cluster.clock, ManualClock):
            cluster.clock.advance(0.01)
        turns, version = (turns + 1, version) if cluster.version == version else (0, cluster.version)
