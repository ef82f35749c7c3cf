"""Who has to go when a node is short, and what is said; which images go before."""

from pathlib import Path
from typing import Any

import pytest

from apimachinery.config import ConfigError
from node.agent.eviction_plan import Use, evicted, over_local_storage, ranked, refused_under_pressure
from node.agent.host import HostReader
from node.agent.image_gc import ImageFs, ImageGc, PulledImages
from node.agent.pressure import DISK, MEMORY, Pressure, Seen, parse
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
    return {name: Use(containers={"c": m * MI}) for name, m in mebibytes.items()}


def test_who_uses_more_than_asked_goes_first_then_the_least_important_then_the_greediest() -> None:
    pods = [
        pod("modest", "100Mi"), pod("greedy"), pod("important", priority=10), pod("small"),
        pod("vital", priority=2_000_000_000),
    ]  # fmt: skip
    (memory,) = parse("memory.available<1")
    order = ranked(pods, using(modest=90, greedy=80, important=200, small=10, vital=500), memory, False)
    assert [p["metadata"]["name"] for p in order] == ["greedy", "small", "important", "modest"]


def test_where_images_are_apart_each_disk_blames_those_who_fill_it() -> None:
    uses = {"writes": Use(layers={"c": 9}), "logs": Use(logs={"c": 5}, volumes={"v": 3})}
    for signal, first in (("imagefs.available", "writes"), ("nodefs.available", "logs")):
        order = ranked([pod("writes"), pod("logs")], uses, parse(f"{signal}<1")[0], True)
        assert order[0]["metadata"]["name"] == first
    assert ranked([pod("logs"), pod("writes")], uses, parse("nodefs.available<1")[0], False)[0]["metadata"]["name"] == (
        "writes"
    )


def test_an_evicted_pod_says_what_was_short_and_who_used_it() -> None:
    hard, soft = parse("memory.available<100Mi", "memory.available<10%", "memory.available=1m")
    verdict = evicted(pod("p", "10240Ki"), hard, Seen(50 * MI + 4096, 0), using(p=30), 7)
    assert (verdict.phase, verdict.reason, verdict.disruption) == ("Failed", "Evicted", "TerminationByKubelet")
    assert verdict.message == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 51204Ki. "
        "Container c was using 30Mi, request is 10Mi, has larger consumption of memory. "
    )
    assert verdict.grace == 1
    gentle = evicted(pod("p"), soft, Seen(50, 1000), {}, 7)
    assert gentle.grace == 7 and "Threshold quantity: 100, available: 50. " in gentle.message


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (Use(volumes={"v": 2 * MI}), 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '),
        (Use(layers={"c": 9 * MI}), "Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. "),
        (Use(layers={"c": 8 * MI}, logs={"c": MI}), 'Container c exceeded its local ephemeral storage limit "8Mi". '),
        (Use(layers={"c": MI}, volumes={"v": MI}), ""),
    ],
)
def test_storage_limits(use: Use, words: str) -> None:
    grown = pod("p", volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1024Ki"}}])
    grown["spec"]["containers"][0]["resources"] = {"limits": {"ephemeral-storage": "8Mi"}}
    if "total" not in words:
        grown["spec"]["containers"].append({"name": "d", "resources": {"limits": {"ephemeral-storage": "2Mi"}}})
    verdict = over_local_storage(grown, use)
    assert (verdict.message if verdict else "") == words.replace("10Mi", "8Mi")


def test_a_soft_threshold_counts_when_it_lasts_and_until_enough_is_reclaimed() -> None:
    thresholds = parse("", "memory.available<100", "memory.available=30s", "memory.available=50")
    pressure = Pressure(thresholds, transition=60)

    def look(free: int, now: float) -> tuple[bool, bool]:
        """Whether the node says so, and whether it acts."""
        return pressure.look({"memory.available": Seen(free, 1000)}, now) == {MEMORY}, bool(pressure.met)

    assert look(99, 0) == (True, False)
    assert look(100, 20) == (True, False)  # it was short, a while ago
    assert look(99, 25) == (True, False)  # the grace period begins anew
    assert look(99, 55) == (True, True)
    assert look(149, 60) == (True, True)
    assert look(150, 65) == (True, False)
    assert look(150, 121) == (False, False)


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
    assert share.crossed(Seen(9, 100)) and not share.crossed(Seen(10, 100))
    assert amount.crossed(Seen(1023, 10**6)) and not amount.crossed(Seen(1024, 10**6))


def test_a_soft_threshold_needs_a_grace_period() -> None:
    with pytest.raises(ConfigError, match="must be specified for the soft eviction threshold"):
        parse("", "pid.available<1")


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


async def test_images_may_be_on_a_file_system_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, host = FakeRuntime(FakeOptions()), HostReader(str(tmp_path))
    told = pb.FilesystemUsage(fs_id=pb.FilesystemIdentifier(mountpoint="/proc"))
    for mountpoint, is_apart in (("/proc", True), (str(tmp_path), False), ("/not/seen/from/here", False)):
        told.fs_id.mountpoint = mountpoint

        async def usage() -> list[pb.FilesystemUsage]:
            return [told]

        monkeypatch.setattr(runtime, "image_fs_info", usage)
        found, apart = await ImageFs(runtime, host).read()
        assert apart == is_apart and (found.device != host.load().disk.device) == is_apart
