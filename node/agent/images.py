"""Makes sure that a container's image is there, by its pull policy.

What the runtime holds already is used at once; also under ``Always`` when the registry does not answer, with a warning.
Waiting reasons, events and back-off are upstream's. Source: kubelet ``images/image_manager.go``.
"""

import asyncio
import re
import time
from collections.abc import Callable
from typing import Final

from apimachinery.client.events import EventRecorder
from node.agent.environment import ObjectSource
from node.agent.image_gc import PulledImages
from node.agent.pod_state import Object, Waiting, uid_of
from node.agent.pull_secrets import credentials
from node.agent.restart_backoff import RestartBackoff
from node.cri.runtime import Runtime, RuntimeFault
from protos.cri.runtime.v1 import api_pb2 as pb

_PARALLEL_PULLS: Final = 5
_PRESENT: Final = "already present on machine and can be accessed by the pod"
_HOST: Final = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE: Final = re.compile(
    rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@[A-Za-z][A-Za-z0-9]*(?:[+._-]\w+)*:[0-9a-fA-F]{{32,}})?",
    re.ASCII,
)
"""The grammar of distribution's reference package."""


class ImageError(Exception):
    """The container has to wait: ``waiting`` says why, ``retry_at`` when to try again (seconds since 1970)."""

    def __init__(self, waiting: Waiting, retry_at: float) -> None:
        super().__init__(waiting.message)
        self.waiting, self.retry_at = waiting, retry_at


class Images:
    """The images of one node's runtime."""

    def __init__(
        self,
        runtime: Runtime,
        recorder: EventRecorder,
        secrets: ObjectSource | None = None,
        clock: Callable[[], float] = time.time,
        pulled: PulledImages | None = None,
    ) -> None:
        self._pulled = pulled
        self._runtime, self._recorder, self._secrets, self._clock = runtime, recorder, secrets, clock
        self._backoff = RestartBackoff()
        self._failed: dict[str, tuple[float, str]] = {}
        self._slots = asyncio.Semaphore(_PARALLEL_PULLS)

    async def ensure(self, pod: Object, spec: Object, sandbox: pb.PodSandboxConfig) -> pb.Image | None:
        """The image, present. Raises ImageError."""
        name = spec.get("image", "")
        policy = spec.get("imagePullPolicy") or _default_policy(name)
        if not _REFERENCE.fullmatch(name):
            problem = f'couldn\'t parse image name "{name}": invalid reference format'
            message = f'Failed to apply default image tag "{name}": {problem}'
            raise self._error(pod, spec, "InvalidImageName", message, "InspectFailed")
        try:
            present = await self._runtime.image_status(name)
        except RuntimeFault as fault:
            message = f'Failed to inspect image "{name}": {fault}'
            raise self._error(pod, spec, "ImageInspectError", message, "InspectFailed") from fault
        if present is not None and policy != "Always":
            self._event(pod, spec, "Normal", "Pulled", f'Container image "{name}" {_PRESENT}')
            return present
        if policy == "Never":
            message = f'Container image "{name}" is not present with pull policy of Never'
            raise self._error(pod, spec, "ErrImageNeverPull", message)
        self._check_backoff(pod, spec, present)
        return await self._pull(pod, spec, sandbox, present)

    def _check_backoff(self, pod: Object, spec: Object, present: pb.Image | None) -> None:
        key = _key(pod, spec)
        if key not in self._failed or present is not None:
            return
        at, error = self._failed[key]
        until = self._backoff.until(key, at)
        if until > self._clock():
            name = spec["image"]
            self._event(pod, spec, "Normal", "BackOff", f'Back-off pulling image "{name}"')
            self._event(pod, spec, "Warning", "Failed", "Error: ImagePullBackOff")
            message = f'Back-off pulling image "{name}": ErrImagePull: {error}'
            raise ImageError(Waiting("ImagePullBackOff", message), until)

    async def _pull(
        self, pod: Object, spec: Object, sandbox: pb.PodSandboxConfig, present: pb.Image | None
    ) -> pb.Image | None:
        name, started = spec["image"], time.monotonic()
        self._event(pod, spec, "Normal", "Pulling", f'Pulling image "{name}"')
        try:
            async with self._slots:
                waited = time.monotonic() - started
                await self._pull_with_credentials(pod, name, sandbox)
            image = await self._runtime.image_status(name)
        except RuntimeFault as fault:
            if present is not None:
                message = f'Failed to pull image "{name}", using the one that is present: {fault}'
                self._event(pod, spec, "Warning", "Failed", message)
                return present
            raise self._pull_failed(pod, spec, str(fault)) from fault
        took = time.monotonic() - started
        size = image.size if image else 0
        about = f"in {took - waited:.3f}s ({took:.3f}s including waiting). Image size: {size} bytes."
        self._event(pod, spec, "Normal", "Pulled", f'Successfully pulled image "{name}" {about}')
        self._failed.pop(_key(pod, spec), None)
        if image is not None and present is None and self._pulled is not None:
            await asyncio.to_thread(self._pulled.pulled, image.id)
        return image

    async def _pull_with_credentials(self, pod: Object, image: str, sandbox: pb.PodSandboxConfig) -> None:
        """Try each credential that fits the registry, or none at all. Raises the last RuntimeFault."""
        keys: list[pb.AuthConfig | None] = []
        if self._secrets is not None:
            keys += await credentials(self._secrets, pod, image)
        for key in keys[:-1]:
            try:
                await self._runtime.pull_image(image, key, sandbox)
                return
            except RuntimeFault:
                continue
        await self._runtime.pull_image(image, keys[-1] if keys else None, sandbox)

    def _pull_failed(self, pod: Object, spec: Object, error: str) -> ImageError:
        key, now = _key(pod, spec), self._clock()
        self._backoff.record(key, now, now)
        self._failed[key] = (now, error)
        self._event(pod, spec, "Warning", "Failed", f'Failed to pull image "{spec["image"]}": {error}')
        self._event(pod, spec, "Warning", "Failed", "Error: ErrImagePull")
        # The next try finds the back-off and says so; it comes soon, so that the reason is seen early.
        return ImageError(Waiting("ErrImagePull", error), now + 1.0)

    def _error(self, pod: Object, spec: Object, reason: str, message: str, told: str = "") -> ImageError:
        self._event(pod, spec, "Warning", told or reason, message)
        self._event(pod, spec, "Warning", "Failed", f"Error: {reason}")
        return ImageError(Waiting(reason, message), self._clock() + 10.0)

    def _event(self, pod: Object, spec: Object, kind: str, reason: str, message: str) -> None:
        self._recorder.event(pod_reference(pod, spec.get("name", "")), kind, reason, message)


def pod_reference(pod: Object, container: str = "") -> Object:
    """The pod, or a container of it, as the object of an event."""
    reference = {"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"]}
    for part in ("containers", "initContainers", "ephemeralContainers") if container else ():
        if any(c["name"] == container for c in pod["spec"].get(part) or ()):
            return reference | {"fieldPath": f"spec.{part}{{{container}}}"}
    return reference


def _default_policy(image: str) -> str:
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    return "Always" if tag in ("", "latest") and "@" not in image else "IfNotPresent"


def _key(pod: Object, spec: Object) -> str:
    return f"{uid_of(pod)}/{spec.get('image', '')}"
