"""Everything that the API server passes on instead of answering from etcd: streams, proxies, metrics, explanations."""

from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from apimachinery.config import ClusterAccess

from ..aggregation.proxy import Aggregator
from ..aggregation.table import ApiServices
from ..outgoing.client import WebhookClient
from ..outgoing.dial import Dialer
from ..registry.reader import Reader
from .connect import Connectors, ConnectRequest
from .explain import SchedulerClient
from .node_agents import NodeAgents
from .node_metrics import NodeMetrics
from .streaming import Streaming

if TYPE_CHECKING:
    from .proxy import Proxy


class Connections:
    """``access`` holds the client certificate for agents and the scheduler; without it they are not reached."""

    def __init__(
        self, reader: Reader, access: ClusterAccess | None, proxy_client: tuple[str, str] | None = None
    ) -> None:
        self._agents = NodeAgents(reader, access)
        self.dialer = Dialer(reader, self._agents)
        self.webhooks = WebhookClient(self.dialer.connect)
        self.aggregator = Aggregator(ApiServices(reader), self.dialer.connect, proxy_client)
        self._proxy: Proxy | None = None
        self._reader = reader
        self._streaming = Streaming(reader, self._agents)
        self.metrics = NodeMetrics(reader, self._agents)
        self.scheduler = SchedulerClient(reader, access)

    def connectors(self) -> Connectors:
        proxies: Connectors = {("", resource, "proxy"): self._proxied for resource in ("nodes", "pods", "services")}
        return {**self._streaming.connectors(), **proxies}

    async def _proxied(self, request: ConnectRequest, scope: Scope, receive: Receive, send: Send) -> None:
        """The proxy's HTTP client takes a tenth of a second to import: whoever proxies first pays for it."""
        if self._proxy is None:
            from .proxy import Proxy

            self._proxy = Proxy(self._reader, self._agents, self.dialer)
        connector = self._proxy.connectors()["", request.kind.resource, "proxy"]
        await connector(request, scope, receive, send)

    async def close(self) -> None:
        if self._proxy is not None:
            await self._proxy.close()
        await self.webhooks.close()
        await self.aggregator.close()
        await self.dialer.close()
        await self.scheduler.close()
        await self._agents.close()
