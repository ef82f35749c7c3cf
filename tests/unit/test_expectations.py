"""Own writes: waited for until the store shows them, and never for ever."""

import asyncio

from apimachinery.client.informer import InformerFactory
from apimachinery.client.workqueue import WorkQueue
from apimachinery.clock import ManualClock
from apimachinery.scheme import CONFIG_MAPS
from master.controller_manager.expectations import Expectations
from tests import fakes
from tests.contract.client_contract import config_map
from tests.waiting import until


async def test_writes_are_waited_for_until_the_store_shows_them() -> None:
    clock = ManualClock()
    cluster = fakes.FakeCluster(clock)
    client = fakes.client(cluster)
    factory = InformerFactory(client)
    informer = factory.informer(CONFIG_MAPS)
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    expectations: Expectations[str] = Expectations(informer, queue, clock)
    running = asyncio.create_task(factory.run())
    await factory.wait_synced()

    created = cluster.create(CONFIG_MAPS, config_map("a"))
    expectations.wrote("owner", created)
    assert not expectations.satisfied("owner") and expectations.satisfied("other")
    await until(lambda: expectations.satisfied("owner"))

    expectations.deleted("owner", created)
    assert not expectations.satisfied("owner")
    cluster.delete(CONFIG_MAPS, "default", "a")
    await until(lambda: expectations.satisfied("owner"))
    clock.advance(10)
    assert await queue.get() == "owner"  # looked at again even if no event had come

    running.cancel()
    expectations.wrote("owner", cluster.create(CONFIG_MAPS, config_map("b")))
    clock.advance(301)
    assert expectations.satisfied("owner")
    await client.close()
