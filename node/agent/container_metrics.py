"""The CRI's metrics (KEP-2371) of a runtime that has none, as containerd 1.x: read from its processes' cgroups."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence

from node.agent.pod_state import POD_NAME, POD_NAMESPACE
from node.cgroups.cgroup import cgroup_of
from node.cgroups.figures import limits
from node.cgroups.series import add_container, add_networks
from node.cri.runtime import Runtime, RuntimeNotFound
from protos.cri.runtime.v1 import api_pb2 as pb

_INIT = 1  # whose cgroup namespace is the machine's


async def pods(runtime: Runtime) -> list[pb.PodSandboxMetrics]:
    """Of every ready sandbox and its running containers, as far as the runtime tells their processes."""
    sandboxes, containers, stats, images = await asyncio.gather(
        runtime.list_pod_sandboxes({}), runtime.list_containers({}), runtime.list_container_stats({}),
        runtime.list_images(),
    )  # fmt: skip
    names = {image.id: image.repo_tags[0] for image in images if image.repo_tags}
    layers = {s.attributes.id: s.writable_layer.used_bytes.value for s in stats}
    running = [c for c in containers if c.state == pb.CONTAINER_RUNNING]
    ready = [s for s in sandboxes if s.state == pb.SANDBOX_READY]
    pids = await asyncio.gather(*(_pid(runtime, s.id, True) for s in ready))
    pids += await asyncio.gather(*(_pid(runtime, c.id, False) for c in running))
    processes = dict(zip([*(s.id for s in ready), *(c.id for c in running)], pids, strict=True))
    return await asyncio.to_thread(lambda: [_pod(s, running, processes, layers, names) for s in ready])


async def _pid(runtime: Runtime, identity: str, sandbox: bool) -> int:
    try:
        return await runtime.process_of(identity, sandbox=sandbox)
    except RuntimeNotFound:
        return 0  # it has just gone


def _pod(
    sandbox: pb.PodSandbox,
    containers: Sequence[pb.Container],
    processes: Mapping[str, int],
    layers: Mapping[str, int],
    names: Mapping[str, str],
) -> pb.PodSandboxMetrics:
    out, now, pid = pb.PodSandboxMetrics(pod_sandbox_id=sandbox.id), time.time_ns(), processes[sandbox.id]
    who = (sandbox.labels.get(POD_NAME, ""), sandbox.labels.get(POD_NAMESPACE, ""))
    if pid and not _on_the_nodes_network(pid):
        add_networks(out.metrics, pid, (sandbox.id, sandbox.id, "", "POD", *who), now)
    for container in containers:
        if container.pod_sandbox_id != sandbox.id or not processes[container.id]:
            continue
        try:
            cgroup = cgroup_of(processes[container.id], _INIT)
        except OSError:
            continue  # it has just ended
        known = {"fs_usage": layers.get(container.id, 0), "started": container.created_at // 10**9}
        known |= {f"spec_{name}": value for name, value in limits(cgroup).items()}
        image = names.get(container.image.image, container.image.image)
        labels = (container.id, container.id, image, container.metadata.name, *who)
        metrics = out.container_metrics.add(container_id=container.id).metrics
        add_container(metrics, cgroup, known, labels, now)
    return out


def _on_the_nodes_network(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")
    except OSError:
        return True
