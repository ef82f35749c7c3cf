"""Whether aggregated API servers answer: the condition ``Available`` of their APIServices.

Looked at when an APIService, its Service or the Service's endpoints change, and now and then without a reason.
Source: ``k8s.io/kube-aggregator/pkg/controllers/status/remote``.
"""

import asyncio
from typing import Any

import orjson

from apimachinery import meta, patch, scheme
from apimachinery.errors import ApiError
from apimachinery.logging import get_logger

from ..auth.user import MASTERS_GROUP, User
from ..outgoing import services
from ..outgoing.trust import Trust
from ..registry.reads import Reads
from ..registry.store import LoopbackWriter
from ..storage.entry import Entry
from ..storage.watcher import Watcher
from .documents import Documents, GroupVersion, part_of
from .proxy import Aggregator, identity_headers
from .table import API_SERVICES, AVAILABLE, DEFAULT_PORT, base_url, group_version, service_of

Object = dict[str, Any]
_log = get_logger(__name__)
RESYNC_SECONDS = 30.0
CHECK_SECONDS = 5.0
ATTEMPTS = 3
"""A Service may have endpoints of which some are bad."""
_AGGREGATOR = User("system:kube-aggregator", groups=(MASTERS_GROUP,))
LOCAL = {
    "type": AVAILABLE,
    "status": "True",
    "reason": "Local",
    "message": "Local APIServices are always available",
}


def condition(status: str, reason: str, message: str) -> Object:
    return {"type": AVAILABLE, "status": status, "reason": reason, "message": message}


def obstacle(service_reference: Object, service: Object | None, slices: list[Object]) -> Object | None:
    """The condition if it can be seen without asking that nobody will answer; else None. Pure."""
    name, namespace = service_reference.get("name"), service_reference.get("namespace")
    port = service_reference.get("port") or DEFAULT_PORT
    where = f'service/{name} in "{namespace}"'
    if service is None:
        return condition("False", "ServiceNotFound", f"{where} is not present")
    spec = service.get("spec") or {}
    if spec.get("type", "ClusterIP") != "ClusterIP":
        return None
    found = next((p for p in spec.get("ports") or () if p.get("port") == port), None)
    if found is None:
        return condition("False", "ServicePortError", f"{where} is not listening on port {port}")
    if not slices:
        return condition("False", "EndpointsNotFound", f"cannot find endpointslices for {where}")
    port_name = found.get("name") or ""
    if not any(_is_ready(piece, port_name) for piece in slices):
        why = f'endpointslices for {where} have no addresses with port name "{port_name}"'
        return condition("False", "MissingEndpoints", why)
    return None


def _is_ready(piece: Object, port_name: str) -> bool:
    ready = any((e.get("conditions") or {}).get("ready") is not False for e in piece.get("endpoints") or ())
    return ready and any((p.get("name") or "") == port_name and p.get("port") for p in piece.get("ports") or ())


class Availability:
    def __init__(self, reads: Reads, writer: LoopbackWriter, aggregator: Aggregator, documents: Documents) -> None:
        self._reads, self._writer, self._aggregator, self._documents = reads, writer, aggregator, documents
        self._services: set[tuple[str, str]] = set()
        self._failures = 0

    async def run(self) -> None:
        watcher = Watcher(self._concerns)
        for kind in (API_SERVICES, scheme.SERVICES, scheme.ENDPOINT_SLICES):
            bucket = self._reads.bucket(kind)
            bucket.watch(watcher, bucket.revision)
        while not watcher.closed:
            await self._look()
            await watcher.batch(min(RESYNC_SECONDS, 2.0**self._failures) if self._failures else RESYNC_SECONDS)
            watcher.take()

    def _concerns(self, entry: Entry) -> bool:
        """Whether an object has to do with an aggregated API: of APIServices all have."""
        namespace = entry.namespace
        service = entry.labels.get(services.SERVICE_NAME_LABEL, "")
        return not namespace or bool({(namespace, entry.name), (namespace, service)} & self._services)

    async def _look(self) -> None:
        remote = list(self._aggregator.table.all_remote())
        references = [service_of(a) or {} for a in remote]
        self._services = {(r.get("namespace", ""), r.get("name", "")) for r in references}
        self._documents.keep_only({group_version(a) for a in remote})
        outcomes = list(await asyncio.gather(*(self._check(a) for a in remote)))
        here = [a for a in self._reads.list(API_SERVICES) if service_of(a) is None]
        outcomes += [await self._tell(a, LOCAL) for a in here]
        self._failures = 0 if all(outcomes) else min(self._failures + 1, 5)

    async def _check(self, api_service: Object) -> bool:
        """Look at one, and say so in its status. False: look again soon."""
        reference = service_of(api_service) or {}
        namespace, name = reference.get("namespace", ""), reference.get("name", "")
        found = self._reads.get(scheme.SERVICES, namespace, name)
        told = obstacle(reference, found, list(services.slices(self._reads, namespace, name)))
        asked = told is None
        told = told or await self._ask(api_service)
        return await self._tell(api_service, told) and (not asked or told["status"] == "True")

    async def _tell(self, api_service: Object, told: Object) -> bool:
        """Whether the status says so now."""
        conditions = (api_service.get("status") or {}).get("conditions") or ()
        have: Object = next((c for c in conditions if c.get("type") == AVAILABLE), {})
        if all(have.get(k) == v for k, v in told.items()):
            return True
        new = meta.with_condition(conditions, {**told, "lastTransitionTime": meta.now_time()})
        changed = api_service | {"status": {**(api_service.get("status") or {}), "conditions": new}}
        try:
            await self._writer.update(API_SERVICES, patch.copy(changed), "status")
        except ApiError as error:
            _log.warning("An APIService's status was not written", name=meta.name_of(api_service), error=str(error))
            return False
        _log.info("Availability of an API", name=meta.name_of(api_service), status=told["status"], why=told["reason"])
        return True

    async def _ask(self, api_service: Object) -> Object:
        """Ask the other server for its resources, and keep what it says."""
        of = group_version(api_service)
        url = f"{base_url(api_service)}/apis/{of[0]}/{of[1]}"
        why = ""
        for _ in range(ATTEMPTS):
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    status, data = await self._fetch(url)
                if not 200 <= status < 300:
                    raise OSError(f"bad status from {url}: {status}")
                listed = orjson.loads(data)
            except (OSError, ValueError) as error:  # TimeoutError among them
                why = f"failing or missing response from {url}: {str(error) or 'context deadline exceeded'}"
                continue
            await self._learn(of, base_url(api_service), listed)
            return condition("True", "Passed", "all checks passed")
        return condition("False", "FailedDiscoveryCheck", why)

    async def _learn(self, of: GroupVersion, base: str, listed: Object) -> None:
        v3 = await self._document(f"{base}/openapi/v3/apis/{of[0]}/{of[1]}")
        v2 = await self._document(f"{base}/openapi/v2")
        self._documents.heard(of, listed, v3, part_of(v2, of) if v2 else None)

    async def _document(self, url: str) -> bytes | None:
        """JSON, if the other server has it and gives it in time."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                status, data = await self._fetch(url)
            orjson.loads(data)
        except (OSError, ValueError):
            return None
        return data if status == 200 else None

    async def _fetch(self, url: str) -> tuple[int, bytes]:
        """Raises OSError. Whom we ask is not verified, as upstream: nothing is told to him but that we ask."""
        from ..outgoing.forward import Destination, Unreachable

        headers = [(b"Accept", b"application/json"), *identity_headers(_AGGREGATOR)]
        try:
            trust = Trust(verify=False, certificate=self._aggregator.certificate)
            status, _, data = await self._aggregator.forwarder.fetch(Destination(url, headers, trust))
        except Unreachable as error:
            raise OSError(str(error)) from error
        return status, data
