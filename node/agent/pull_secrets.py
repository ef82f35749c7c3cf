"""Credentials for pulling images, from the secrets that a pod names in ``imagePullSecrets``.

A secret of type ``kubernetes.io/dockerconfigjson`` holds Docker's own configuration file. Source:
``pkg/credentialprovider/{config,keyring}.go``.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Final

import orjson

from apimachinery.logging import get_logger
from node.agent.environment import ObjectSource
from node.agent.pod_state import Object
from protos.cri.runtime.v1 import api_pb2 as pb

_log = get_logger(__name__)
_KEY: Final = ".dockerconfigjson"
_DEFAULT_REGISTRY: Final = "docker.io"
_DEFAULT_NAMES: Final = ("index.docker.io", "registry-1.docker.io")


def registry_of(image: str) -> str:
    """The registry that an image name means."""
    first, slash, _ = image.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return first if named else _DEFAULT_REGISTRY


async def credentials(source: ObjectSource, pod: Object, image: str) -> list[pb.AuthConfig]:
    """What may open the image's registry, in the order in which to try it. Values never reach a log."""
    namespace, found = pod["metadata"].get("namespace", ""), []
    for reference in pod["spec"].get("imagePullSecrets") or ():
        secret = await source.secret(namespace, reference["name"])
        try:
            found += list(_matching((secret or {}).get("data") or {}, registry_of(image)))
        except (ValueError, AttributeError, binascii.Error):
            _log.warning("Image pull secret is malformed", namespace=namespace, secret=reference["name"])
    return found


def _matching(data: Object, registry: str) -> Iterator[pb.AuthConfig]:
    config = orjson.loads(base64.b64decode(data[_KEY])) if _KEY in data else {}
    for server, entry in (config.get("auths") or {}).items():
        host = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
        if host == registry or (registry == _DEFAULT_REGISTRY and host in _DEFAULT_NAMES):
            yield _auth(server, entry)


def _auth(server: str, entry: Object) -> pb.AuthConfig:
    user, password = entry.get("username", ""), entry.get("password", "")
    if not user and entry.get("auth"):
        user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
    token = entry.get("identitytoken", "")
    return pb.AuthConfig(username=user, password=password, server_address=server, identity_token=token)
