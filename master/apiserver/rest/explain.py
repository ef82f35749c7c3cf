"""``GET /kubeto/v1/namespaces/NS/pods/NAME/explain``: the leading scheduler's reasons, as JSON."""

from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict

from apimachinery import errors, meta, scheme
from apimachinery.config import ClusterAccess
from apimachinery.rpc import CLIENT_OPTIONS, client_credentials
from protos.kubeto.v1 import scheduler_pb2 as pb
from protos.kubeto.v1.scheduler_pb2_grpc import SchedulerStub

from ..registry.reader import Reader

PATH = "/kubeto/v1/namespaces/{namespace}/pods/{name}/explain"
ADDRESS_ANNOTATION = "kubeto.dev/grpc-address"
LEASE = ("kube-system", "kube-scheduler")
SERVER_NAME = "kube-scheduler"
_TIMEOUT_SECONDS = 10.0


class SchedulerClient:
    """Finds the leader by its lease; the channel is kept until another one leads."""

    def __init__(self, reader: Reader, access: ClusterAccess | None) -> None:
        self._reader = reader
        self._credentials = client_credentials(access) if access else None
        self._address = ""
        self._channel: grpc.aio.Channel | None = None

    async def explain(self, namespace: str, pod: str) -> dict[str, Any]:
        """Fields of ExplainReply in camelCase. Raises ServiceUnavailable while no scheduler leads or answers."""
        channel = await self._leader()
        try:
            request = pb.ExplainRequest(namespace=namespace, pod=pod)
            reply = await SchedulerStub(channel).Explain(request, timeout=_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            detail = error.details() or error.code().name
            raise errors.ServiceUnavailable(f"the scheduler at {self._address} does not answer: {detail}") from error
        return dict(MessageToDict(reply, always_print_fields_with_no_presence=True))

    async def _leader(self) -> grpc.aio.Channel:
        lease = self._reader.get(scheme.LEASES, *LEASE)
        address = meta.annotations_of(lease).get(ADDRESS_ANNOTATION, "") if lease else ""
        if not address:
            raise errors.ServiceUnavailable("no scheduler leads that offers explanations")
        if self._credentials is None:
            raise errors.ServiceUnavailable("this API server was started without --kubelet-client-certificate")
        if self._channel is None or address != self._address:
            await self.close()
            options = [*CLIENT_OPTIONS, ("grpc.ssl_target_name_override", SERVER_NAME)]
            self._channel = grpc.aio.secure_channel(address, self._credentials, options=options)
            self._address = address
        return self._channel

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close(grace=None)
            self._channel = None
