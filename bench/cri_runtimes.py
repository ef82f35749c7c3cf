"""kubeto-cri-docker beside containerd and beside the plain Docker SDK, each in a network namespace of its own."""

import asyncio
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import cri_docker
from bench.bare import CRI_IMAGE, PlainSdk
from bench.report import Figure
from tests.contract.cri.targets import cri_docker as own_shim
from tests.contract.cri.targets import own_containerd, own_node, wait_for

PODS = 20
_GOALS = {
    "ListPodSandbox": 2.0,
    "ListContainers": 2.0,
    "PodSandboxStatus": 1.0,
    "ContainerStatus": 1.0,
    "ListContainerStats": 70.0,
}
_LIKE_THE_SDK = ("pod up", "pod down")


def run() -> list[Figure]:
    """Ours with its goals, then the peers' figures."""
    ours, theirs, sdk = _cri("docker"), _cri("containerd"), _plain_sdk()
    found = []
    for work, value in ours.items():
        goal = sdk.get(work) if work in _LIKE_THE_SDK else _GOALS.get(work)
        found.append(Figure(f"CRI on Docker, {PODS} pods: {work}", value, "ms", goal))
        for peer, figures in (("containerd", theirs), ("plain SDK", sdk)):
            if work in figures:
                found.append(Figure(f"  {peer}", figures[work], "ms"))
    return found


def _cri(kind: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, own_node() as node:
        start = own_shim if kind == "docker" else own_containerd
        with start(node, Path(folder)) as socket:
            wait_for(socket)
            figures = asyncio.run(cri_docker.measure(f"unix://{socket}", CRI_IMAGE, PODS))
    return {work: statistics.median(values) for work, values in figures.items()}


def _plain_sdk() -> dict[str, float]:
    with own_node() as node, tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(PODS) as pool:
        sdk = PlainSdk(node, Path(folder), PODS)
        timed: dict[str, list[float]] = {"pod up": [], "pod down": []}
        for _ in range(cri_docker.SINGLE_RUNS):
            start = time.perf_counter()
            pod = sdk.up()
            timed["pod up"].append(time.perf_counter() - start)
            start = time.perf_counter()
            sdk.down(pod)
            timed["pod down"].append(time.perf_counter() - start)
        start = time.perf_counter()
        pods = list(pool.map(lambda _: sdk.up(), range(PODS)))
        timed[f"{PODS} pods at once, per pod"] = [(time.perf_counter() - start) / PODS]
        list(pool.map(sdk.down, pods))
    return {work: statistics.median(values) * 1000 for work, values in timed.items()}


def main() -> None:
    from bench.report import show

    show(run())


if __name__ == "__main__":
    main()
