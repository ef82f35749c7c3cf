"""What the command line says. Imports next to nothing: ``--help`` answers at once."""

from dataclasses import dataclass

from apimachinery.flags import flag, required


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    listen: str = required("where the CRI is served: unix:///path")
    docker_host: str = flag("unix:///var/run/docker.sock", "the engine: unix:///path")
    state_dir: str = flag("/var/lib/kubeto/cri-docker", "what must outlive a restart")
    node_name: str = required("only containers of this node are seen; engines can be shared")
    sandbox_image: str = flag("kubeto/pause:2", "what a pod's sandbox runs")
    sandbox_network: str = flag("cni", "cni, or loopback for none")
    cni_conf_dir: str = flag("/etc/cni/net.d", "where the network's configuration is")
    cni_bin_dirs: tuple[str, ...] = flag(
        ("/usr/lib/cni", "/opt/cni/bin"), "where CNI plugins are; repeatable", name="cni-bin-dir", repeated=True
    )
    host_network_container: str = flag(
        "", "the container whose network is the node's; without it hostNetwork pods use the engine's own"
    )
    streaming_address: str = flag("127.0.0.1:0", "exec, attach, port-forward")
    v: int = flag(2, "verbosity; 4 and more debugs")
