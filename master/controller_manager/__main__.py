"""kubeto-controller-manager: runs the controllers while it holds the lease."""

import asyncio
import socket
import sys

from apimachinery import lifecycle, logging
from apimachinery.client.api import ApiClient
from apimachinery.client.informer import InformerFactory
from apimachinery.client.leader import LeaderElector
from apimachinery.config import ClusterAccess, load_kubeconfig
from apimachinery.metrics import ControllerMetrics, HealthServer, new_registry
from master.controller_manager.controllers import CONTROLLERS
from master.controller_manager.frame import AnyController, Context
from master.controller_manager.options import Options, is_enabled, parse

_log = logging.get_logger(__name__)
_USER_AGENT = "kube-controller-manager"


async def _serve(options: Options) -> None:
    access = load_kubeconfig(options.kubeconfig)
    registry = new_registry()
    metrics = ControllerMetrics(registry)
    health = HealthServer(registry)
    port = await health.start("127.0.0.1", options.healthz_port)
    try:
        client = await ApiClient.connect(access, user_agent=_USER_AGENT)
        try:
            await _stand(client, access, options, metrics, f"{socket.gethostname()}_{port}")
        finally:
            await client.close()
    finally:
        await health.close()


async def _stand(
    client: ApiClient, access: ClusterAccess, options: Options, metrics: ControllerMetrics, identity: str
) -> None:
    async def lead() -> None:
        await run_controllers(Context(client, access, options, InformerFactory(client), metrics))

    if not options.leader_elect:
        await lead()
        return
    name = options.leader_elect_resource_name
    await LeaderElector(client, name, identity, times=options.lease_times).run(lead)


async def run_controllers(context: Context) -> None:
    """Run every enabled controller until cancelled."""
    enabled = [c for c in CONTROLLERS if is_enabled(c.name, context.options.controllers)]
    controllers = [controller(context) for controller in enabled]
    for controller in controllers:
        controller.prepare()
    async with lifecycle.Tasks() as tasks:
        tasks.start("informers", context.informers.run())
        await context.informers.wait_synced()
        _log.info("Caches are filled, starting", controllers=len(controllers))
        for controller in controllers:
            tasks.start(controller.name, controller.run())
        try:
            await tasks.wait()
        finally:
            await _close(controllers)


async def _close(controllers: list[AnyController]) -> None:
    await asyncio.gather(*(c.close() for c in controllers))


def main() -> None:
    options = parse()
    logging.setup(options.v)
    sys.exit(lifecycle.run(lambda: _serve(options)))


if __name__ == "__main__":
    main()
