"""Who has to go when a node is short, and what is said; which images go before."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from apimachinery.config import ConfigError
from node.agent.eviction_plan import Use, evicted, over_local_storage, ranked, refused_under_pressure
from node.agent.host import HostReader
from node.agent.image_gc import ImageGc, PulledImages
from node.agent.pressure import DISK, MEMORY, Shortage, parse
from node.cri.fake import FakeRuntime
from node.cri.fake_images import FakeOptions
from protos.cri.runtime.v1 import api_pb2 as pb

MI = 1024 * 1024


def pod(name: str, memory: str = "", priority: int = 0, **spec: Any) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "c", "image": "i"}
    if memory:
        container["resources"] = {"requests": {"memory": memory}}
    return {"metadata": {"name": name, "uid": name}, "spec": {"containers": [container], "priority": priority, **spec}}


def using(**mebibytes: int) -> dict[str, Use]:
    return {name: Use(memory=m * MI, containers={"c": m * MI}) for name, m in mebibytes.items()}


def test_who_uses_more_than_asked_goes_first_then_the_least_important_then_the_greediest() -> None:
    pods = [
        pod("modest", "100Mi"), pod("greedy"), pod("important", priority=10), pod("small"),
        pod("vital", priority=2_000_000_000),
    ]  # fmt: skip
    order = ranked(pods, using(modest=90, greedy=80, important=200, small=10, vital=500), "memory")
    assert [p["metadata"]["name"] for p in order] == ["greedy", "small", "important", "modest"]


def test_an_evicted_pod_says_what_was_short_and_who_used_it() -> None:
    shortage = Shortage(parse("memory.available<100Mi")[0], 50 * MI)
    verdict = evicted(pod("p", "10Mi"), shortage, using(p=30))
    assert (verdict.phase, verdict.reason, verdict.disruption) == ("Failed", "Evicted", "TerminationByKubelet")
    assert verdict.message == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container c was using 30Mi, request is 10Mi, has larger consumption of memory. "
    )


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (Use(volumes={"v": 2 * MI}), 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '),
        (Use(disk={"c": 9 * MI}), 'Container c exceeded its local ephemeral storage limit "8388608". '),
        (Use(disk={"c": 8 * MI}, volumes={"v": MI}), "Pod ephemeral local storage usage exceeds the total limit"),
        (Use(disk={"c": MI}, volumes={"v": MI}), ""),
    ],
)
def test_storage_limits(use: Use, words: str) -> None:
    grown = pod("p", volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}])
    grown["spec"]["containers"][0]["resources"] = {"limits": {"ephemeral-storage": "8Mi"}}
    verdict = over_local_storage(grown, use)
    assert (verdict.message if verdict else "").startswith(words) and bool(verdict) == bool(words)


def test_a_node_that_is_short_takes_only_what_does_no_harm() -> None:
    assert refused_under_pressure(pod("p"), frozenset()) is None
    assert refused_under_pressure(pod("p"), frozenset({MEMORY})) is not None
    assert refused_under_pressure(pod("p", "1Mi"), frozenset({MEMORY})) is None
    assert refused_under_pressure(pod("p", "1Mi"), frozenset({MEMORY, DISK})) is not None
    assert refused_under_pressure(pod("p", priority=2_000_000_000), frozenset({DISK})) is None


@pytest.mark.parametrize("text", ["memory.available", "memory.free<1Mi", "memory.available<x", "memory.available<x%"])
def test_thresholds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text)


def test_a_threshold_is_an_amount_or_a_share() -> None:
    share, amount = parse("nodefs.available<10%,memory.available<1Ki")
    assert share.fraction == Decimal("0.1") and share.crossed(9, 100) and not share.crossed(10, 100)
    assert amount.crossed(1023, 10**6) and not amount.crossed(1024, 10**6)


async def test_only_images_that_the_agent_pulled_and_nobody_uses_are_removed(tmp_path: Path) -> None:
    runtime = FakeRuntime(FakeOptions())
    pulled = PulledImages(str(tmp_path / "pulled.json"))
    for name in ("users", "mine", "used"):
        await runtime.pull_image(name, None, pb.PodSandboxConfig())
    images = {tag.split(":")[0].rpartition("/")[2]: i.id for i in await runtime.list_images() for tag in i.repo_tags}
    for name in ("mine", "used"):
        pulled.pulled(images[name])
    sandbox = await runtime.run_pod_sandbox(pb.PodSandboxConfig(metadata=pb.PodSandboxMetadata(name="p", uid="u")), "")
    config = pb.ContainerConfig(metadata=pb.ContainerMetadata(name="c"), image=pb.ImageSpec(image="used"))
    await runtime.create_container(sandbox, config, pb.PodSandboxConfig())
    restarted = PulledImages(str(tmp_path / "pulled.json"))
    await ImageGc(runtime, restarted, HostReader(str(tmp_path))).remove_unused()
    left = {i.id for i in await runtime.list_images()}
    assert images["mine"] not in left and {images["users"], images["used"]} <= left
