"""``kubeto up --mode process``: every component a local process, every node in a network namespace of its own."""

import asyncio
import contextlib
import datetime
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apimachinery.errors import AlreadyExists
from cli.up import components, conflicts, containerd, network, prerequisites
from cli.up.certificates import ensure_certificates, write_admin_kubeconfig
from cli.up.config import ClusterConfig, load
from cli.up.etcd import check_members
from cli.up.identities import HOLLOW_IDENTITY, Certificates
from cli.up.images import ensure_example_images
from cli.up.namespaces import NodeNamespace
from cli.up.pid_files import write_pid
from cli.up.prerequisites import CannotStart
from cli.up.progress import Progress
from cli.up.supervisor import left_behind, stop_all, supervisor_argv, supervisor_pid

if TYPE_CHECKING:
    from cli.api import Api

_READY_WITHIN = 60.0
_STOP_WITHIN = 60.0
_POLL = 0.05
LEASE_RENEWED_WITHIN = datetime.timedelta(seconds=15)  # an agent renews every 10 s
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


def up(config: ClusterConfig, progress: Progress) -> None:
    """Start the cluster and wait until every node is Ready. Raises CannotStart with what to do about it."""
    os.environ["DOCKER_HOST"] = config.engine
    with conflicts.alone(config.root):
        _up(config, progress)


def _up(config: ClusterConfig, progress: Progress) -> None:
    since = datetime.datetime.now(datetime.UTC)
    if running(config):
        conflicts.refuse_other_options(config, load(config.root) or config)
        since -= LEASE_RENEWED_WITHIN
        progress.say(f"The cluster in {config.root} already runs; its nodes are checked.")
    else:
        left = left_behind(config)
        check_members(config)
        prerequisites.check(config, {keeper.pid for keeper in left})
        if not config.hollow:
            conflicts.refuse_other_clusters(config)
        _prepare(config, progress)
        wanted = components.load_components(config.components)
        asyncio.run(stop_all([keeper for keeper in left if keeper.component not in wanted]))
        _start_supervisor(config)
    alive = functools.partial(running, config)
    with contextlib.closing(wait_for_api(config, progress, alive)) as api:
        if config.hollow:
            _allow_hollow_nodes(api)
        if config.runtime == "containerd":
            with progress.step("Images for containerd"):
                _import_images(config, alive)
        wait_for_nodes(config, api, progress, alive, since)


def running(config: ClusterConfig) -> bool:
    return supervisor_pid(config) != 0


def _prepare(config: ClusterConfig, progress: Progress) -> None:
    config.save()
    for folder in (config.run, config.logs, config.data):
        folder.mkdir(parents=True, exist_ok=True)
    with progress.step("Certificates and keys"):
        certificates = ensure_certificates(config)
        write_admin_kubeconfig(config)
    if config.hollow:
        nodes = components.hollow_nodes(config, certificates)
    else:
        nodes = _prepare_nodes(config, certificates, progress)
    control_plane = components.control_plane(config, certificates)
    components.save_components(config.components, [*control_plane, *nodes])


def _prepare_nodes(config: ClusterConfig, certificates: Certificates, progress: Progress) -> list[components.Component]:
    if config.runtime == "docker":
        with progress.step("Docker engine") as step:
            step.detail = "started" if prerequisites.ensure_engine(config.logs / "dockerd.log") else "running"
        ensure_example_images(progress)
    with progress.step(f"Network {config.node_network} on bridge {config.bridge}"):
        network.ensure_machine_side(config)  # the nodes' side is made by the supervisor, while etcd starts
    for node in config.node_names():
        (config.data / "nodes" / node / "cni").mkdir(parents=True, exist_ok=True)
        if config.runtime == "containerd":
            containerd.write_configuration(config, node)
    places = [components.place(config, index) for index in range(config.nodes)]
    return [c for place in places for c in components.real_node(config, certificates, place)]


def _start_supervisor(config: ClusterConfig) -> None:
    log = (config.logs / "supervisor.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, *supervisor_argv(config)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    write_pid(config.run / "supervisor.pid", process.pid)


def wait_for_api(config: ClusterConfig, progress: Progress, alive: Callable[[], bool]) -> "Api":
    """The cluster's API once it is ready. ``alive`` tells whether waiting still makes sense."""
    from cli.api import Api, ApiUnreachable  # the HTTP client takes 0.25 s to import: do it while etcd starts

    with progress.step("etcd and API server"):
        api = Api.from_kubeconfig(config.admin_kubeconfig)

        def ready() -> bool:
            try:
                return api.raw("GET", "/readyz").status_code == 200
            except ApiUnreachable:
                return False

        _wait(ready, f"the API server is not ready: see {config.logs / 'kubeto-apiserver.log'}", alive)
    return api


def wait_for_nodes(
    config: ClusterConfig, api: "Api", progress: Progress, alive: Callable[[], bool], since: datetime.datetime
) -> None:
    """Return when every node is Ready and its agent was heard after ``since``.

    What is stored of a node is as its agent left it, however long ago.
    """
    wanted = set(config.node_names())
    with progress.step(f"{len(wanted)} node{'s' if len(wanted) > 1 else ''} Ready"):

        def ready() -> bool:
            heard = {le["metadata"]["name"] for le in api.get_list(_LEASES) if _renewed(le) >= since}
            return wanted <= heard & {n["metadata"]["name"] for n in api.get_list("/api/v1/nodes") if node_is_ready(n)}

        _wait(ready, f"not all nodes became Ready: see {config.logs}/kubeto-node*.log and 'kubeto get nodes'", alive)


def _allow_hollow_nodes(api: "Api") -> None:
    """Give the one process of all hollow nodes a node's rights over every node."""
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node"}
    group = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": HOLLOW_IDENTITY}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": HOLLOW_IDENTITY},
        "roleRef": role,
        "subjects": [group],
    }
    with contextlib.suppress(AlreadyExists):
        api.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", body=binding)


def _import_images(config: ClusterConfig, alive: Callable[[], bool]) -> None:
    def serves(node: str) -> bool:
        socket = f"--address={config.run / f'{node}.sock'}"
        return subprocess.run(["ctr", socket, "version"], capture_output=True, check=False).returncode == 0

    def give(node: str) -> None:
        log = config.logs / f"containerd-{node}.log"
        _wait(functools.partial(serves, node), f"containerd does not answer: see {log}", alive)
        containerd.import_images(config, node)

    with ThreadPoolExecutor() as pool:
        list(pool.map(give, config.node_names()))


def _renewed(lease: dict[str, Any]) -> datetime.datetime:
    return datetime.datetime.fromisoformat(lease["spec"]["renewTime"].replace("Z", "+00:00"))


def node_is_ready(node: dict[str, object]) -> bool:
    status = node.get("status")
    conditions = status.get("conditions", []) if isinstance(status, dict) else []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _wait(ready: Callable[[], bool], otherwise: str, alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while not ready():
        if not alive():
            raise CannotStart("the supervisor ended: see supervisor.log in the cluster's logs")
        if time.monotonic() > deadline:
            raise CannotStart(f"after {_READY_WITHIN:.0f} s, {otherwise}")
        time.sleep(_POLL)


def down(config: ClusterConfig, progress: Progress) -> None:
    """Stop every process, remove pods' containers, namespaces and the bridge; the data stay."""
    os.environ["DOCKER_HOST"] = config.engine
    with conflicts.alone(config.root):
        _down(config, progress)


def _down(config: ClusterConfig, progress: Progress) -> None:
    with progress.step("Processes stopped"):
        _stop_supervisor(config)
    if config.hollow:
        return
    with progress.step("Containers and network removed"):
        if config.runtime == "docker":
            remove_containers(config)
        _unmount_below(config.root)
        for index in range(config.nodes):
            NodeNamespace(config, index).remove()
        network.remove_machine_side(config)


def _stop_supervisor(config: ClusterConfig) -> None:
    pid = supervisor_pid(config)
    deadline = time.monotonic() + _STOP_WITHIN
    if pid:
        os.kill(pid, signal.SIGTERM)
        while supervisor_pid(config):
            if time.monotonic() > deadline:
                raise CannotStart(f"the supervisor (pid {pid}) does not stop: see {config.logs / 'supervisor.log'}")
            time.sleep(_POLL)
    asyncio.run(stop_all(left_behind(config)))
    for left in config.run.glob("*.pid"):
        left.unlink(missing_ok=True)


def remove_containers(config: ClusterConfig) -> None:
    """Remove the containers of all pods: those that this cluster's runtimes labelled."""
    if not prerequisites.engine_answers():
        raise CannotStart("Docker's engine does not answer, so the pods' containers are left: start it, and try again")
    for node in config.node_names():
        label = f"label=io.kubeto.node={config.name}-{node}"
        listed = subprocess.run(["docker", "ps", "-aq", "--filter", label], capture_output=True, text=True, check=True)
        if ids := listed.stdout.split():
            subprocess.run(["docker", "rm", "--force", *ids], capture_output=True, check=True)


def _unmount_below(folder: Path) -> None:
    """Unmount what pods' volumes left under ``folder``, deepest first."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), key=len, reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
