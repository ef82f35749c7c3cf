"""A private containerd for each node of a process-mode cluster: its configuration and its images."""

import shutil
import subprocess
import sys
from pathlib import Path

import grpc

from cli.up.components import CNI_BIN_DIR, SANDBOX_IMAGE
from cli.up.config import ClusterConfig
from protos.cri.runtime.v1 import api_pb2 as cri
from protos.cri.runtime.v1.api_pb2_grpc import RuntimeServiceStub

_CALL_WITHIN = 10.0
IMAGES = (SANDBOX_IMAGE, "kubeto/busybox:1")


def write_configuration(config: ClusterConfig, node: str) -> None:
    """``containerd.toml`` in the node's state folder, and a folder of CNI plugins that has ours in it."""
    state = config.data / "nodes" / node
    plugins = state / "cni-bin"
    plugins.mkdir(parents=True, exist_ok=True)
    for plugin in Path(CNI_BIN_DIR).glob("*"):
        _link(plugins / plugin.name, plugin)
    _write_plugin(plugins / "kubeto")
    (state / "containerd.toml").write_text(
        _TEMPLATE.format(
            root=state / "containerd",
            state=config.run / f"containerd-{node}",
            socket=config.run / f"{node}.sock",
            sandbox_image=f"docker.io/{SANDBOX_IMAGE}",
            plugins=plugins,
            cni=state / "cni",
        )
    )


def _link(link: Path, target: Path) -> None:
    if not link.is_symlink():
        link.symlink_to(target)


def _write_plugin(path: Path) -> None:
    """``kubeto-cni`` without Python's ``site``: it runs twice a pod, and a sixth of its time would be the search
    for installed packages."""
    path.unlink(missing_ok=True)
    path.write_text(_PLUGIN.format(python=sys.executable, folder=str(Path(__file__).parents[2])))
    path.chmod(0o755)


def import_images(config: ClusterConfig, node: str) -> None:
    """Give the node's containerd the images that Docker holds, where there is a Docker to ask."""
    if shutil.which("docker") is None:
        return
    archive = config.run / "images.tar"
    if not archive.exists():
        subprocess.run(["docker", "save", "--output", str(archive), *IMAGES], check=True, capture_output=True)
    socket = f"--address={config.run / f'{node}.sock'}"
    subprocess.run(
        ["ctr", socket, "--namespace=k8s.io", "images", "import", str(archive)], check=True, capture_output=True
    )


def remove_pods(socket: str) -> None:
    """Stop and remove every pod sandbox that a runtime holds, so that no shim or mount outlives it."""
    with grpc.insecure_channel(f"unix://{socket}") as channel:
        runtime = RuntimeServiceStub(channel)
        for sandbox in runtime.ListPodSandbox(cri.ListPodSandboxRequest(), timeout=_CALL_WITHIN).items:
            runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=sandbox.id), timeout=_CALL_WITHIN)
            runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox.id), timeout=_CALL_WITHIN)


_PLUGIN = """\
#!{python} -IS
import sys
sys.path.insert(0, {folder!r})  # Kubeto's own code; the plugin needs no package
from cni.__main__ import main
sys.exit(main())
"""

# restrict_oom_score_adj: without CAP_SYS_RESOURCE a negative score kills every container at its start.
_TEMPLATE = """\
version = 2
root = "{root}"
state = "{state}"

[grpc]
  address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox_image}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{cni}"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""


if __name__ == "__main__":
    remove_pods(sys.argv[1])
