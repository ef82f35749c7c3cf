"""In-memory stands-ins for the cluster. ``fakes.client(cluster)`` is a real ApiClient on a FakeCluster."""

from apimachinery.client.api import ApiClient
from tests.fakes.cluster import FakeCluster
from tests.fakes.rpc import FakeRpc

__all__ = ["FakeCluster", "client"]


def client(cluster: FakeCluster, user_agent: str = "test") -> ApiClient:
    """All of the client library runs for real; only the network and the server behind it are in memory."""
    return ApiClient(FakeRpc(cluster), user_agent=user_agent)
