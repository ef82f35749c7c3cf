"""Runtimes that the contract runs on: the fake in memory, the fake over a socket, and whatever is at the endpoints in
``KUBETO_TEST_CRI`` (comma-separated), such as containerd; and kubeto-cri-docker where there is an engine."""

import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from node.cri.client import CriClient
from node.cri.fake import FakeRuntime
from node.cri.runtime import Runtime
from node.cri.server import create_server
from tests.docker_runtime import engine_is_here, running_shim

ENDPOINTS = [e for e in os.environ.get("KUBETO_TEST_CRI", "").split(",") if e]


@pytest.fixture(scope="session")
def cri_docker_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not engine_is_here():
        pytest.skip("needs root, Docker and the test images")
    with running_shim(tmp_path_factory.mktemp("cri-docker"), "cni") as shim:
        while not os.path.exists(shim.socket.removeprefix("unix://")):
            time.sleep(0.05)
        yield shim.socket


CRI_DOCKER = pytest.param("cri-docker", marks=[pytest.mark.docker, pytest.mark.root])


@pytest.fixture(params=["fake", "fake-over-grpc", CRI_DOCKER, *ENDPOINTS])
async def runtime(request: pytest.FixtureRequest) -> AsyncIterator[Runtime]:
    if request.param == "fake":
        yield FakeRuntime()
        return
    with tempfile.TemporaryDirectory() as folder:
        endpoint, server = request.param, None
        if endpoint == "cri-docker":
            endpoint = request.getfixturevalue("cri_docker_endpoint")
        if request.param == "fake-over-grpc":
            endpoint = f"unix://{folder}/cri.sock"
            server = create_server(FakeRuntime(), endpoint)
            await server.start()
        client = CriClient(endpoint)
        yield client
        await client.close()
        if server is not None:
            await server.stop(None)


@pytest.fixture
def log_directory(tmp_path: Path) -> str:
    folder = tmp_path / "logs"
    folder.mkdir()
    return str(folder)
