"""Which credentials open an image's registry."""

import base64
import json
from typing import Any

import pytest

from node.agent.pull_secrets import credentials, registry_of

Object = dict[str, Any]


class Source:
    def __init__(self, config: object) -> None:
        self._data = base64.b64encode(json.dumps(config).encode()).decode()

    async def config_map(self, namespace: str, name: str) -> Object | None:
        return None

    async def secret(self, namespace: str, name: str) -> Object | None:
        return {"data": {".dockerconfigjson": self._data}}


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("nginx", "docker.io"),
        ("team/app:1", "docker.io"),
        ("reg.example:5000/app", "reg.example:5000"),
        ("localhost/app", "localhost"),
    ],
)
def test_registry_of(image: str, registry: str) -> None:
    assert registry_of(image) == registry


async def test_only_what_fits_the_registry_is_used() -> None:
    auth = base64.b64encode(b"me:pw").decode()
    source = Source({"auths": {"https://reg.example/v1/": {"auth": auth}, "other.example": {"username": "x"}}})
    pod = {"metadata": {"namespace": "n"}, "spec": {"imagePullSecrets": [{"name": "s"}]}}
    (found,) = await credentials(source, pod, "reg.example/app:1")
    assert (found.username, found.password) == ("me", "pw")
    assert not await credentials(source, pod, "nginx")
    assert not await credentials(Source(["not a mapping"]), pod, "nginx")
