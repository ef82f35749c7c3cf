"""What all verbs share: the engine, what is known of it, and the two ways in which a container ends."""

from collections.abc import Callable
from dataclasses import dataclass

from node.cri_docker.cache import Cache
from node.cri_docker.engine import Engine, EngineError
from node.cri_docker.images import Images
from node.cri_docker.limits import engine_root
from node.cri_docker.security import EngineLimits


@dataclass(frozen=True, slots=True)
class Host:
    engine: Engine
    cache: Cache
    images: Images
    limits: Callable[[], EngineLimits]

    def root(self) -> str:
        """Where the engine's file system is seen; "" when it is shared."""
        return engine_root(self.engine.peer_pid())

    async def kill(self, container_id: str) -> None:
        """SIGKILL; one that is gone, or does not run, is success."""
        try:
            await self.engine.post(f"/containers/{container_id}/kill", signal="KILL")
        except EngineError as error:
            if not (error.not_found or error.conflict):
                raise
        await self.cache.refresh(container_id)

    async def delete(self, container_id: str) -> None:
        """Remove a container whatever its state; one that is gone, or going, is success."""
        try:
            await self.engine.delete(f"/containers/{container_id}", force=True, v=True)
        except EngineError as error:
            if not error.not_found and "already in progress" not in error.message:
                raise
        await self.cache.forget(container_id)
