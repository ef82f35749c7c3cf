"""The engine's event stream, feeding the cache; a relist whenever the stream began anew, and now and then.

The engine keeps few events and forgets them when it restarts, so nothing depends on having seen one: after
every (re)connection, and every ``RELIST_SECONDS``, its list is compared with the cache.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson

from apimachinery.logging import get_logger
from node.cri_docker import naming
from node.cri_docker.cache import Cache
from node.cri_docker.engine import Engine, EngineError, EngineUnavailable
from protos.cri.runtime.v1 import api_pb2 as cri

RELIST_SECONDS, RELIST_ANSWER_SECONDS = 60.0, 30.0
_RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0)
_CONTAINER_ACTIONS = ["create", "start", "die", "oom", "update", "destroy"]
_IMAGE_ACTIONS = ["pull", "tag", "untag", "delete", "import", "load"]
_STATES = {
    "created": cri.CONTAINER_CREATED,
    "running": cri.CONTAINER_RUNNING,
    "paused": cri.CONTAINER_RUNNING,
    "restarting": cri.CONTAINER_RUNNING,
}
log = get_logger(__name__)


class Events:
    def __init__(self, engine: Engine, cache: Cache, node: str, on_images: Callable[[], None]) -> None:
        self._engine, self._cache, self._node, self._on_images = engine, cache, node, on_images
        self._tasks: set[asyncio.Task[None]] = set()
        self.attempted = asyncio.Event()
        """Set once the engine was found, or found missing, for the first time."""
        self.before_sync: Callable[[], Awaitable[None]] = _nothing
        self.on_synced: list[Callable[[], None]] = []
        """Called after each time the cache became true again."""

    async def run(self) -> None:
        """Follow the engine for ever, through its restarts."""
        failures = 0
        while True:
            try:
                async with self._engine.stream("/events", filters=self._filters()) as chunks:
                    await self._resync()
                    failures = 0
                    await self._follow(chunks)
                reason = "its event stream ended"
            except EngineError as error:
                reason = error.message
            if not self._cache.away:
                log.warning("Engine lost", reason=reason)
            self._cache.away = reason
            self.attempted.set()
            self._engine.close()
            await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
            failures += 1

    def _filters(self) -> dict[str, list[str]]:
        # One stream for both: the node's label cannot be asked for, as images have none.
        return {"type": ["container", "image"], "event": _CONTAINER_ACTIONS + _IMAGE_ACTIONS}

    async def _resync(self) -> None:
        await self.before_sync()
        self._on_images()
        await self._relist()
        if self._cache.away:
            log.info("Engine synced", containers=len(self._cache.ids()))
        self._cache.away = ""
        self.attempted.set()
        for callback in self.on_synced:
            callback()

    async def _relist(self) -> None:
        """Refresh what differs between the engine's list and the cache; sandboxes first."""
        mine = {"label": [f"{naming.NODE}={self._node}"]}
        listed = await self._engine.get("/containers/json", timeout=RELIST_ANSWER_SECONDS, all=True, filters=mine)
        listed.sort(key=lambda item: item["Labels"].get(naming.KIND) != naming.KIND_SANDBOX)
        for item in listed:
            if self._cache.state_of(item["Id"]) != _STATES.get(item["State"], cri.CONTAINER_EXITED):
                await self._cache.refresh(item["Id"])
        for gone in self._cache.ids() - {item["Id"] for item in listed}:
            await self._cache.refresh(gone)

    async def _follow(self, chunks: AsyncIterator[bytes]) -> None:
        """Until the stream ends, or the engine hangs: then its stream is only silent."""
        loop = asyncio.get_running_loop()
        tasks = {
            loop.create_task(self._read(chunks), name="events"),
            loop.create_task(self._relist_regularly(), name="relist"),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, chunks: AsyncIterator[bytes]) -> None:
        buffer = b""
        async for chunk in chunks:
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    self._handle(orjson.loads(line))

    async def _relist_regularly(self) -> None:
        """Raises EngineUnavailable."""
        while True:
            await asyncio.sleep(RELIST_SECONDS)
            try:
                await self._relist()
            except EngineUnavailable:
                raise
            except EngineError as error:
                log.warning("Relist failed", reason=error.message)

    def _handle(self, event: dict[str, Any]) -> None:
        if event["Type"] == "image":
            self._on_images()
            return
        actor = event["Actor"]
        if actor["Attributes"].get(naming.NODE) != self._node:
            return
        if event["Action"] == "oom":
            self._cache.note_oom(actor["ID"])
        if self._is_news(event["Action"], actor["ID"]):
            task = asyncio.get_running_loop().create_task(self._take(event["Action"], actor["ID"]), name="event")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _is_news(self, action: str, identity: str) -> bool:
        """Not what one of our own verbs has already put into the cache."""
        seen = self._cache.state_of(identity)
        if action == "create":
            return seen is None
        if action == "start":
            return seen in (None, cri.CONTAINER_CREATED)
        return action not in ("die", "destroy") or seen != (cri.CONTAINER_EXITED if action == "die" else None)

    async def _take(self, action: str, identity: str) -> None:
        try:
            if action == "destroy":
                await self._cache.forget(identity)
            else:
                await self._cache.refresh(identity)
        except EngineError as error:
            # The relist after the reconnection, or the regular one, makes up for it.
            log.warning("Event lost", action=action, container=identity, reason=error.message)


async def _nothing() -> None:
    pass
