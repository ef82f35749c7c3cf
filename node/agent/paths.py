"""Where an agent keeps what it keeps: the kubelet's layout, under the agent's root folder."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodePaths:
    """The folders of one node. All of it may be bind-mounted into containers, so the engine must see the same paths."""

    root: str

    @property
    def pods(self) -> str:
        return os.path.join(self.root, "pods")

    def pod(self, uid: str) -> str:
        return os.path.join(self.pods, uid)

    def volume(self, uid: str, plugin: str, name: str) -> str:
        return os.path.join(self.pod(uid), "volumes", f"kubernetes.io~{plugin}", name)

    def subpath(self, uid: str, volume: str, container: str, index: int) -> str:
        return os.path.join(self.pod(uid), "volume-subpaths", volume, container, str(index))

    def container(self, uid: str, name: str) -> str:
        return os.path.join(self.pod(uid), "containers", name)

    def resources_file(self, uid: str) -> str:
        return os.path.join(self.pod(uid), "resources.json")

    def hosts_file(self, uid: str) -> str:
        return os.path.join(self.pod(uid), "etc-hosts")

    @property
    def pulled_images(self) -> str:
        return os.path.join(self.root, "pulled-images.json")

    @property
    def local_volumes(self) -> str:
        return os.path.join(self.root, "local-volumes")

    @property
    def plugin_sockets(self) -> str:
        return os.path.join(self.root, "plugins_registry")

    @property
    def csi(self) -> str:
        return os.path.join(self.root, "plugins", "kubernetes.io", "csi")

    @property
    def logs(self) -> str:
        return os.path.join(self.root, "logs", "pods")

    def pod_logs(self, namespace: str, name: str, uid: str) -> str:
        return os.path.join(self.logs, f"{namespace}_{name}_{uid}")
