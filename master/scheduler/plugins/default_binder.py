"""DefaultBinder (Bind): writes the decision through the pods/binding subresource, many pods in one round trip."""

from collections.abc import Sequence

from apimachinery.client.api import ApiClient, Binding
from apimachinery.errors import ApiError
from master.scheduler.shape import Key


async def bind(client: ApiClient, bound: Sequence[tuple[Key, str, str]]) -> list[ApiError | None]:
    """Bind (key, uid, node) triples. One answer each, in order; a transport failure is raised."""
    return await client.bind([Binding(namespace=k[0], pod=k[1], pod_uid=uid, node=node) for k, uid, node in bound])
