"""What the command line says. Imports nothing: ``--help`` answers at once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """The command line."""

    listen: str
    docker_host: str = "unix:///var/run/docker.sock"
    state_dir: str = "/var/lib/kubeto/cri-docker"
    node_name: str = "node"
    sandbox_image: str = "kubeto/pause:1"
    sandbox_network: str = "cni"
    cni_conf_dir: str = "/etc/cni/net.d"
    cni_bin_dirs: tuple[str, ...] = ("/usr/lib/cni", "/opt/cni/bin")
    host_network_container: str = ""
    streaming_address: str = "127.0.0.1:0"
