"""Specs "Container", "Container Mount Propagation", "Container Mount Readonly", "Container OOM", "Idempotence" (of
containers) and "Multiple Containers" of the public CRI validation suite."""

import os
import subprocess
import time
import uuid
from pathlib import Path

import grpc
import pytest

from protos.cri.runtime.v1 import api_pb2 as cri
from tests.contract.cri.kit import Kit, Pod, on_fake, refused
from tests.waiting import eventually


@pytest.fixture
def pod(kit: Kit) -> Pod:
    return kit.shared()


@on_fake
def test_creating_container(pod: Pod) -> None:
    made = pod.create()
    assert made.listed(id=made.id) and made.status().state == cri.CONTAINER_CREATED


@on_fake
def test_starting_container(pod: Pod) -> None:
    assert pod.run().status().state == cri.CONTAINER_RUNNING


@on_fake
def test_stopping_container(pod: Pod) -> None:
    made = pod.run()
    made.stop(60)
    assert made.ended().finished_at > 0


@on_fake
@pytest.mark.parametrize("state", ["created", "running", "stopped"])
def test_removing_container(pod: Pod, state: str) -> None:
    made = pod.create() if state == "created" else pod.run()
    if state == "stopped":
        made.stop()
    made.remove()
    assert not made.listed(id=made.id)
    made.remove()


@on_fake
def test_idempotence_of_containers_not_found(kit: Kit) -> None:
    kit.fails_on("containerd", "1.6 answers NOT_FOUND")
    unknown = str(uuid.uuid4())
    kit.runtime.StopContainer(cri.StopContainerRequest(container_id=unknown))
    kit.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=unknown))


@on_fake
def test_idempotence_of_stop_container(pod: Pod) -> None:
    made = pod.run()
    made.stop()
    made.stop()
    assert made.ended().exit_code in (137, 143)


def test_exec_sync(pod: Pod) -> None:
    made = pod.run()
    assert made.output("echo", "-n", "hello") == "hello"
    failed = made.exec("sh", "-c", "echo no >&2; exit 7")
    assert (failed.exit_code, failed.stderr) == (7, b"no\n")


@pytest.mark.parametrize("program", ["no-such-program", "/etc/passwd"])
def test_exec_sync_of_what_cannot_be_started_is_an_error(pod: Pod, program: str) -> None:
    """And no exit code: to a probe that is no verdict, where a program that ends with 126 has failed."""
    made = pod.run()
    with pytest.raises(grpc.RpcError, match="failed to exec in container"):
        made.exec(program)
    assert made.exec("sh", "-c", "exit 126").exit_code == 126


def test_exec_sync_with_timeout_leaves_no_process(pod: Pod) -> None:
    made = pod.run()
    start = time.monotonic()
    with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        made.exec("sleep", "4321", timeout=1)
    assert time.monotonic() - start < 5
    assert eventually(lambda: made.exec("pidof", "sleep").exit_code == 1)


def test_listing_container_stats(kit: Kit, pod: Pod) -> None:
    made = [pod.run(labels={"foo": "bar"}), pod.run(), pod.run()]
    request = cri.ContainerStatsRequest(container_id=made[0].id)
    stats = kit.runtime.ContainerStats(request).stats
    assert (stats.attributes.id, stats.attributes.metadata) == (made[0].id, made[0].config.metadata)
    assert stats.cpu.timestamp and stats.memory.timestamp and stats.memory.working_set_bytes.value
    assert stats.writable_layer.fs_id.mountpoint
    assert made[0].stats(id=made[0].id) and not made[1].stats(id=made[0].id)
    assert all(container.stats() for container in made)
    assert made[0].stats(label_selector={"foo": "bar"}) and not made[0].stats(label_selector={"foo": "baz"})
    assert made[1].stats(pod_sandbox_id=pod.id) and not made[1].stats(label_selector={"foo": "bar"})


@on_fake
def test_listing_filters(kit: Kit, pod: Pod) -> None:
    running, created = pod.run(labels={"a": "b"}), pod.create()
    assert running.listed(id=running.id) and not created.listed(id=running.id)
    assert created.listed(pod_sandbox_id=pod.id) and not created.listed(pod_sandbox_id="0" * 64)
    assert running.listed(label_selector={"a": "b"}) and not created.listed(label_selector={"a": "b"})
    is_running = cri.ContainerStateValue(state=cri.CONTAINER_RUNNING)
    assert running.listed(state=is_running) and not created.listed(state=is_running)
    assert not created.listed(id=running.id, label_selector={"a": "b"})


@pytest.mark.parametrize("link", [False, True], ids=["plain", "symlink"])
def test_container_with_volume(kit: Kit, pod: Pod, link: bool) -> None:
    path = kit.folder / "volume"
    path.mkdir()
    (path / "testVolume.file").touch()
    if link:
        (kit.folder / "link").symlink_to(path)
        path = kit.folder / "link"
    mount = cri.Mount(host_path=str(path), container_path=str(path), selinux_relabel=True)
    made = pod.run(mounts=[mount])
    assert made.output("ls", "-A", str(path)) == "testVolume.file\n"
    assert made.status().mounts[0].host_path == str(path)


def test_the_whole_machine_as_a_volume(kit: Kit, pod: Pod) -> None:
    """Its root holds the engine's own folder, which Docker does not let be mounted as a private one."""
    (kit.folder / "seen").touch()
    made = pod.run(mounts=[cri.Mount(host_path="/", container_path="/host", readonly=True)])
    assert made.output("ls", "-A", f"/host{kit.folder / 'seen'}")


@on_fake
def test_log(pod: Pod) -> None:
    made = pod.run(["echo", "hello World"])
    made.ended()
    assert ("stdout", "hello World") in made.log()


def test_reopening_container_log(pod: Pod) -> None:
    made = pod.run(["sh", "-c", "while true; do echo hello World; sleep 0.1; done"])
    path = made.status().log_path
    eventually(lambda: os.path.exists(path) and made.log())
    os.rename(path, path + ".new")
    made.kit.runtime.ReopenContainerLog(cri.ReopenContainerLogRequest(container_id=made.id))
    assert os.path.exists(path)
    old = made.log(path + ".new")
    assert eventually(lambda: len(made.log()) > 3)
    assert made.log(path + ".new") == old


def test_reopening_the_log_of_what_does_not_run_is_refused(pod: Pod) -> None:
    with refused():
        pod.kit.runtime.ReopenContainerLog(cri.ReopenContainerLogRequest(container_id=pod.create().id))


@pytest.mark.parametrize(
    ("propagation", "inwards", "outwards"),
    [
        (cri.PROPAGATION_PRIVATE, False, False),
        (cri.PROPAGATION_HOST_TO_CONTAINER, True, False),
        (cri.PROPAGATION_BIDIRECTIONAL, True, True),
    ],
    ids=["rprivate", "rslave", "rshared"],
)
def test_mount_propagation(kit: Kit, propagation: cri.MountPropagation, inwards: bool, outwards: bool) -> None:
    source = kit.folder / "mnt"
    for needed in (source / "in", source / "out", kit.folder / "flag" / "file"):
        needed.mkdir(parents=True)
    try:
        _mount("--bind", str(source), str(source))
        _mount("--make-rprivate" if propagation == cri.PROPAGATION_PRIVATE else "--make-rshared", str(source))
        asked = cri.Mount(host_path=str(source), container_path=str(source), propagation=propagation)
        made = kit.pod(security={"privileged": True}).run(security={"privileged": True}, mounts=[asked])
        assert list(made.status().mounts) == [asked]
        _mount("--bind", str(kit.folder / "flag"), str(source / "in"))
        assert bool(made.output("ls", "-A", str(source / "in"))) is inwards
        made.output("mount", "--bind", "/etc", str(source / "out"))
        assert bool(os.listdir(source / "out")) is outwards
    finally:
        subprocess.run(["umount", "-R", str(source)], capture_output=True, check=False)


def test_oom_killed_reason(pod: Pod) -> None:
    limits = {"memory_limit_in_bytes": 15 << 20, "memory_swap_limit_in_bytes": 15 << 20}
    made = pod.run(["sh", "-c", "dd if=/dev/zero of=/dev/null bs=20M"], resources=limits)
    made.ended()
    assert eventually(lambda: made.status().reason == "OOMKilled")
    assert made.status().exit_code == 137


@pytest.mark.parametrize("recursive", [False, True])
def test_readonly_mounts(kit: Kit, recursive: bool) -> None:
    """Recursive ones only where the runtime says so; elsewhere they are refused."""
    folder, pod = kit.folder / "ro", kit.pod()
    (folder / "tmpfs").mkdir(parents=True)
    told = kit.runtime.Status(cri.StatusRequest()).runtime_handlers
    able = any(handler.name == "" and handler.features.recursive_read_only_mounts for handler in told)
    _mount("-t", "tmpfs", "none", str(folder / "tmpfs"))
    asked = cri.Mount(host_path=str(folder), container_path="/mnt", readonly=True, recursive_read_only=recursive)
    try:
        if recursive and not able:
            kit.needs(kit.target.name != "containerd", "knows nothing of recursive read-only mounts")
            with refused(grpc.StatusCode.INVALID_ARGUMENT):
                pod.create(mounts=[asked])
            return
        made = pod.run(mounts=[asked])
        assert made.exec("touch", "/mnt/file").exit_code
        assert bool(made.exec("touch", "/mnt/tmpfs/file").exit_code) is recursive
    finally:
        pod.stop()
        subprocess.run(["umount", str(folder / "tmpfs")], check=True)


def test_multiple_containers_in_a_pod(kit: Kit, pod: Pod) -> None:
    web = pod.run((), image="web:latest")
    busybox = pod.run(["sh", "-c", "echo hello World; sleep 1000"])
    address = pod.status().network.ip
    assert "here" in eventually(lambda: busybox.exec("wget", "-qO-", f"http://{address}/").stdout.decode())
    for container, text in ((web, "serving"), (busybox, "hello World")):
        assert eventually(lambda c=container: c.log()) == [("stdout", text)]
    assert [c.output("echo", "x") for c in (web, busybox)] == ["x\n", "x\n"]


@on_fake
def test_a_container_needs_a_ready_sandbox(kit: Kit) -> None:
    pod = kit.pod()
    pod.stop()
    with refused():
        pod.create()


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def test_a_start_that_fails_tells_why(pod: Pod) -> None:
    made = pod.create(["/no/such/program"])
    with refused() as failed:
        made.start()
    assert "/no/such/program" in str(failed.value)
    status = made.ended()
    assert status.exit_code in (127, 128) and status.reason == "StartError"


def test_events_of_a_container(kit: Kit, pod: Pod) -> None:
    kit.needs(kit.target.name != "containerd", "GetContainerEvents came after containerd 1.6")
    events = kit.runtime.GetContainerEvents(cri.GetEventsRequest(), timeout=20)
    seen: list[tuple[str, int]] = []
    made = None
    pod.run()  # whatever came before the stream was open
    try:
        made = pod.run(["true"])
        wanted = [(made.id, k) for k in (0, 1, 2)]
        for event in events:
            seen.append((event.container_id, event.container_event_type))
            if seen[-1] == wanted[-1]:
                break
        assert [s for s in seen if s[0] == made.id] == wanted
    finally:
        events.cancel()
    assert Path(made.status().log_path).exists()
