"""The CNI configuration of a node that has no other: our own plugin on bridge ``cbr0`` with the node's pod range."""

import json
import os
from typing import Final

from apimachinery import whole_file

FILE_NAME: Final = "10-kubeto.conflist"
_SUFFIXES: Final = (".conf", ".conflist", ".json")


def conflist(pod_cidr: str, data_dir: str) -> str:
    """``data_dir``: where addresses in use are noted; the node's own, for nodes may share a file system."""
    plugin = {
        "type": "kubeto",
        "bridge": "cbr0",
        "subnet": pod_cidr,
        "dataDir": data_dir,
        "capabilities": {"portMappings": True},
    }
    # A runtime of before CNI 1.1 (containerd 1.6) knows only cniVersion; a newer one takes the best of cniVersions.
    versions = {"cniVersion": "1.0.0", "cniVersions": ["1.0.0", "1.1.0"]}
    return json.dumps({**versions, "name": "kubeto", "plugins": [plugin]}, indent=2) + "\n"


def write(folder: str, pod_cidr: str, data_dir: str) -> str:
    """Write the configuration unless another one is there. Returns the path written, "" when none was."""
    os.makedirs(folder, exist_ok=True)
    others = [name for name in os.listdir(folder) if name.endswith(_SUFFIXES) and name != FILE_NAME]
    if others:
        return ""
    path = os.path.join(folder, FILE_NAME)
    whole_file.replace(path, conflist(pod_cidr, data_dir).encode())
    return path
