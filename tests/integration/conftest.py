"""Fixtures of integration tests: a real runtime on a real engine, one for each module."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.docker_runtime import Cri, Shim, connected, engine_is_here, running_shim


@pytest.fixture(scope="module")
def docker_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not engine_is_here():
        pytest.skip("needs root, Docker and the test images")
    return tmp_path_factory.mktemp("cri-docker")


@pytest.fixture(scope="module")
def shim(docker_folder: Path, request: pytest.FixtureRequest) -> Iterator[Shim]:
    """``SANDBOX_NETWORK`` in the module chooses its network."""
    with running_shim(docker_folder, getattr(request.module, "SANDBOX_NETWORK", "loopback")) as running:
        yield running


@pytest.fixture
async def cri_docker(shim: Shim) -> AsyncIterator[Cri]:
    async with connected(shim) as client:
        yield client
