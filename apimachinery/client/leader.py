"""Leader election by a Lease in kube-system: of several processes one works, the others wait.

As client-go: a leader renews its Lease every ``renew_seconds``; if it cannot for ``renew_deadline_seconds`` it
stops working, before the Lease runs out after ``lease_seconds`` and another may start. Whether a Lease has run
out is judged by how long this process has seen it unchanged, never by comparing clocks of two machines.

Source: ``client-go/tools/leaderelection``. Better than there: a leader that lost its Lease stops its work and
stands again, instead of ending the process.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from apimachinery.client.api import ApiClient
from apimachinery.clock import Clock, SystemClock
from apimachinery.errors import ApiError, NotFound
from apimachinery.logging import get_logger
from apimachinery.meta import Object, format_micro_time
from apimachinery.scheme import LEASES

_log = get_logger(__name__)


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds; upstream's defaults but for ``renew_seconds``: upstream's leaders renew every two seconds, which is most
    of what an idle control plane does. lease > renew_deadline > renew + retry."""

    lease_seconds: int = 15
    renew_deadline_seconds: float = 10.0
    renew_seconds: float = 5.0
    retry_seconds: float = 2.0


class LeaderElector:
    """``identity`` must be unique among processes that can run at the same time."""

    def __init__(
        self,
        client: ApiClient,
        name: str,
        identity: str,
        annotations: Mapping[str, str] | None = None,
        *,
        namespace: str = "kube-system",
        times: LeaseTimes | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._client = client
        self._name, self._namespace, self._identity = name, namespace, identity
        self._annotations = dict(annotations or {})
        self._times = times or LeaseTimes()
        self._clock: Clock = clock or SystemClock()
        self._observed: dict[str, Any] = {}
        self._observed_at = 0.0
        self._lease: Object | None = None
        self.leading = False

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for leadership, then run ``lead``; cancel it and wait again when leadership is lost.

        Returns, or raises, when ``lead`` does. The Lease is released in any case, so that the next leader need
        not wait for it to run out.
        """
        log = _log.bind(lease=self._name, identity=self._identity)
        try:
            while True:
                await self._acquire()
                log.info("Became leader")
                if await self._lead(lead):
                    return
                log.warning("Lost leadership")
        finally:
            if self.leading:
                self.leading = False
                await asyncio.shield(self._release())

    async def _lead(self, lead: Callable[[], Awaitable[None]]) -> bool:
        """Whether ``lead`` came to its end; False if leadership was lost before."""
        work = asyncio.ensure_future(lead())
        renew = asyncio.create_task(self._renew(), name=f"renew-{self._name}")
        try:
            await asyncio.wait({work, renew}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
                return True
            return False
        finally:
            work.cancel()
            renew.cancel()
            await asyncio.gather(work, renew, return_exceptions=True)

    async def _acquire(self) -> None:
        while not await self._try():
            await self._clock.sleep(self._times.retry_seconds)
        self.leading = True

    async def _renew(self) -> None:
        """Returns when the Lease could not be renewed in time or someone else holds it."""
        renewed, pause = self._clock.monotonic(), self._times.renew_seconds
        while self._clock.monotonic() - renewed < self._times.renew_deadline_seconds:
            await self._clock.sleep(pause)
            pause = self._times.retry_seconds
            try:
                async with asyncio.timeout(self._times.renew_deadline_seconds):
                    if await self._try():
                        renewed, pause = self._clock.monotonic(), self._times.renew_seconds
                    elif self._observed.get("holderIdentity") not in {self._identity, ""}:
                        break
            except TimeoutError:
                _log.warning("Renewing the lease timed out", lease=self._name)
        self.leading = False

    async def _try(self) -> bool:
        """Take or renew the Lease. False if it is another's or the server did not take it."""
        started = self._clock.monotonic()
        try:
            lease = (self._lease if self.leading else None) or await self._read()
            if lease is None:
                self._take(await self._client.create(LEASES, self._new_lease()), started)
                return True
            self._observe(lease, started)
            if not self._free(lease):
                return False
            self._take(await self._client.update(LEASES, self._mine(lease)), started)
            return True
        except ApiError as error:
            self._lease = None
            if self.leading:
                _log.warning("Could not renew the lease", lease=self._name, error=error.message)
                await self._look()
            else:
                _log.debug("Could not take the lease", lease=self._name, error=error.message)
            return False

    async def _look(self) -> None:
        """After a failed renewal: see whether another holds the Lease; keep it to renew if not."""
        try:
            self._lease = await self._read()
        except ApiError as error:
            _log.debug("Could not read the lease", lease=self._name, error=error.message)
            return
        if self._lease is not None:
            self._observed = dict(self._lease.get("spec") or {})

    async def _read(self) -> Object | None:
        try:
            return await self._client.get(LEASES, self._name, self._namespace)
        except NotFound:
            return None

    def _observe(self, lease: Object, at: float) -> None:
        spec = lease.get("spec") or {}
        if spec != self._observed:
            self._observed, self._observed_at = dict(spec), at

    def _free(self, lease: Object) -> bool:
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder in {"", self._identity}:
            return True
        seconds = spec.get("leaseDurationSeconds") or self._times.lease_seconds
        return self._clock.monotonic() > self._observed_at + float(seconds)

    def _take(self, lease: Object, at: float) -> None:
        self._lease = lease
        self._observe(lease, at)

    def _new_lease(self) -> Object:
        metadata: Object = {"name": self._name, "namespace": self._namespace}
        blank: Object = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": {}}
        return self._mine(blank)

    def _mine(self, lease: Object) -> Object:
        """``lease`` as held by this process from now on."""
        now = format_micro_time(self._clock.now())
        old = lease.get("spec") or {}
        same = old.get("holderIdentity") == self._identity
        known = "holderIdentity" in old
        spec = {
            **old,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._times.lease_seconds,
            "acquireTime": old["acquireTime"] if same and old.get("acquireTime") else now,
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (1 if known and not same else 0),
        }
        metadata = dict(lease["metadata"])
        if self._annotations:
            metadata["annotations"] = {**(metadata.get("annotations") or {}), **self._annotations}
        return {**lease, "metadata": metadata, "spec": spec}

    async def _release(self) -> None:
        """Give the Lease up: no holder, and a duration of a second, as client-go leaves it."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        now = format_micro_time(self._clock.now())
        spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now, "acquireTime": now}
        try:
            await self._client.update(LEASES, {**lease, "spec": spec})
        except ApiError as error:
            _log.warning("Could not release the lease", lease=self._name, error=error.message)
