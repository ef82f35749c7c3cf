"""kubeto-scheduler: binds pods to nodes while it holds the lease, and explains its decisions."""

import os
import socket
import sys

from grpc import aio
from prometheus_client import CollectorRegistry, Gauge

from apimachinery import lifecycle, logging
from apimachinery.agents import AgentChannels
from apimachinery.client.api import ApiClient
from apimachinery.client.informer import InformerFactory
from apimachinery.client.leader import LeaderElector
from apimachinery.config import ClusterAccess, ConfigError, load_kubeconfig
from apimachinery.errors import ApiError
from apimachinery.metrics import HealthServer, new_registry
from master.scheduler.explain import Explanation, explain
from master.scheduler.loads import LoadWatcher
from master.scheduler.options import Options, parse
from master.scheduler.profile import DEFAULT_PROFILE
from master.scheduler.scheduler import Scheduler
from master.scheduler.server import SchedulerService, ServingFiles, published_address, serve

_log = logging.get_logger(__name__)
ADDRESS_ANNOTATION = "kubeto.dev/grpc-address"


class Process:
    """``scheduler`` is the running one while this process leads."""

    def __init__(self, options: Options, access: ClusterAccess) -> None:
        self._options, self._access = options, access
        self._scheduler: Scheduler | None = None

    async def run(self) -> None:
        """Serve and stand for leader until cancelled."""
        registry = new_registry()
        self._measure(registry)
        health = HealthServer(registry)
        if self._options.healthz_port:
            await health.start("127.0.0.1", self._options.healthz_port)
        server = await self._serve()
        client = await ApiClient.connect(self._access, user_agent="kube-scheduler")
        try:
            await self._stand(client)
        finally:
            await client.close()
            await health.close()
            if server is not None:
                await server.stop(1.0)

    async def _serve(self) -> aio.Server | None:
        o = self._options
        if not o.serves:
            _log.warning("Explanations are not served: no --tls-cert-file, --tls-private-key-file, --client-ca-file")
            return None
        files = ServingFiles(o.tls_cert_file, o.tls_private_key_file, o.client_ca_file)
        return await serve(SchedulerService(self._explain), o.bind_address, o.secure_port, files)

    async def _stand(self, client: ApiClient) -> None:
        o = self._options
        if not o.leader_elect:
            await self._lead(client)
            return
        annotations = {}
        if o.serves:
            annotations[ADDRESS_ANNOTATION] = published_address(o.bind_address, o.secure_port, self._access.server)
        # A port is one process's: who has it after a crash is this scheduler again, and waits for no lease of its own.
        identity = f"{socket.gethostname()}_{f'{o.bind_address}_{o.secure_port}' if o.serves else os.getpid()}"
        name = o.leader_elect_resource_name
        elector = LeaderElector(client, name, identity, annotations, times=o.lease_times)
        await elector.run(lambda: self._lead(client))

    async def _lead(self, client: ApiClient) -> None:
        """One term: a new snapshot from new informers."""
        informers = InformerFactory(client)
        scheduler = Scheduler(client, informers, DEFAULT_PROFILE)
        channels = AgentChannels(self._access)
        async with lifecycle.Tasks() as tasks:
            tasks.start("informers", informers.run())
            await informers.wait_synced()
            _log.info("Caches are filled, starting", nodes=scheduler.engine.snapshot.node_count)
            self._scheduler = scheduler
            tasks.start("scheduler", scheduler.run())
            tasks.start("loads", LoadWatcher(scheduler.engine.snapshot, channels).run())
            try:
                await tasks.wait()
            finally:
                self._scheduler = None
                await channels.close()

    def _explain(self, namespace: str, name: str) -> Explanation | None:
        if self._scheduler is None:
            return None
        feed = self._scheduler.feed
        pod = feed.pods.store.get(namespace, name)
        return explain(self._scheduler.engine, pod, feed.shapes.of(pod) if pod else None)

    def _measure(self, registry: CollectorRegistry) -> None:
        bound = Gauge("scheduler_bound_pods", "Pods bound in this term of leadership", registry=registry)
        bound.set_function(lambda: self._scheduler.bound if self._scheduler else 0)
        pending = Gauge("scheduler_pending_pods", "Pods in the scheduling queue", registry=registry)
        pending.set_function(lambda: len(self._scheduler.queue) if self._scheduler else 0)


def main() -> None:
    options = parse()
    logging.setup(options.v)
    try:
        access = load_kubeconfig(options.kubeconfig)
        code = lifecycle.run(lambda: Process(options, access).run())
    except (ConfigError, ApiError, OSError) as error:
        sys.exit(str(error))
    sys.exit(code)


if __name__ == "__main__":
    main()
