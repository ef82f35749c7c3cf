"""The network namespace of each node of a process-mode cluster, and who owns it.

Docker joins another container's network but never a namespace by path, so under Docker a tiny container owns
the node's namespace: the agent and the runtime run inside it, and a pod on the host's network joins the
container. Under containerd a named namespace does.
"""

import re
import subprocess
from dataclasses import dataclass

from cli.up import network
from cli.up.components import SANDBOX_IMAGE
from cli.up.config import ClusterConfig

DIRECTORY_LABEL = "kubeto.dev/directory"


@dataclass(frozen=True, slots=True)
class NodeNamespace:
    """The namespace of the node with this index."""

    config: ClusterConfig
    index: int

    @property
    def owner(self) -> str:
        """The name of the container (Docker) or of the namespace (containerd)."""
        return f"{self.config.name}-{self.config.node_names()[self.index]}"

    def ensure(self) -> str:
        """Make the namespace and its link where they are missing; returns the namespace's path.

        Raises subprocess.CalledProcessError where the container engine or the kernel refuses.
        """
        path = self._container() if self.config.runtime == "docker" else network.ensure_namespace(self.owner)
        network.ensure_node_link(self.config, self.index, path)
        return path

    def _container(self) -> str:
        pid = self._pid()
        if not pid:
            if pid == 0:
                _docker("rm", "--force", self.owner)
            self._run()
            pid = self._pid()
        return f"/proc/{pid}/ns/net"

    def _run(self) -> None:
        node = self.config.node_names()[self.index]
        labels = [f"--label=kubeto.dev/cluster={self.config.name}", f"--label={DIRECTORY_LABEL}={self.config.root}"]
        names = [f"--hostname={node}", f"--name={self.owner}"]
        _docker("run", "--detach", "--network=none", *names, *labels, SANDBOX_IMAGE)

    def _pid(self) -> int | None:
        """The container's first process; 0 where the container is stopped, None where there is none."""
        shown = _docker("inspect", "--format={{.State.Pid}}", self.owner, check=False)
        return int(shown) if shown.isdigit() else None

    def remove(self) -> None:
        if self.config.runtime == "docker":
            _docker("rm", "--force", self.owner, check=False)
        else:
            network.remove_namespace(self.owner)


def owner_pid(path: str) -> int:
    """The process whose end takes the namespace at ``path`` away, or 0 for a named one."""
    found = re.fullmatch(r"/proc/(\d+)/ns/net", path)
    return int(found[1]) if found else 0


def _docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=check)
    return done.stdout.strip()
