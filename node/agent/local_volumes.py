"""The folders of this node that are PersistentVolumes of the local-path provisioner.

They lie outside the pods' folders: they stay until their volume is deleted. Their size is not limited.
"""

import os
import shutil

from apimachinery.errors import BadRequest, InternalError
from node.agent import mounts


def make(root: str, name: str) -> str:
    """The path of a volume's folder, made if it is not there. Raises ApiError."""
    path = _path(root, name)
    try:
        os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o777)  # noqa: S103 - whatever user the pod runs as may write it; fsGroup narrows it
    except OSError as error:
        raise InternalError(f"local volume {name}: {error}") from error
    return path


def remove(root: str, name: str) -> str:
    """Delete a volume's folder with all it holds. Raises ApiError."""
    path = _path(root, name)
    if mounts.mounted_below(path):
        raise InternalError(f"local volume {name} is still mounted")
    try:
        if os.path.isdir(path):
            shutil.rmtree(path)
    except OSError as error:
        raise InternalError(f"local volume {name}: {error}") from error
    return path


def _path(root: str, name: str) -> str:
    if not name or name.startswith(".") or "/" in name:
        raise BadRequest(f"{name!r} is no name of a volume")
    return os.path.join(root, name)
