"""Everything that the API server passes on instead of answering from etcd: streams, proxies, metrics, explanations."""

from apimachinery.config import ClusterAccess

from ..registry.reader import Reader
from .connect import Connectors
from .explain import SchedulerClient
from .node_agents import NodeAgents
from .node_metrics import NodeMetrics
from .proxy import Proxy
from .streaming import Streaming


class Connections:
    """``access`` holds the client certificate for agents and the scheduler; without it they are not reached."""

    def __init__(self, reader: Reader, access: ClusterAccess | None) -> None:
        self._agents = NodeAgents(reader, access)
        self._proxy = Proxy(reader, self._agents)
        self._streaming = Streaming(reader, self._agents)
        self._metrics = NodeMetrics(reader, self._agents)
        self.scheduler = SchedulerClient(reader, access)

    def connectors(self) -> Connectors:
        return {**self._streaming.connectors(), **self._proxy.connectors(), **self._metrics.connectors()}

    async def close(self) -> None:
        await self._proxy.close()
        await self.scheduler.close()
        await self._agents.close()
