"""Runtimes that the contract runs on: the fake in memory, the fake over a socket, and whatever is at the endpoints in
``KUBETO_TEST_CRI`` (comma-separated), such as containerd or kubeto-cri-docker."""

import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.cri.client import CriClient
from node.cri.fake import FakeRuntime
from node.cri.runtime import Runtime
from node.cri.server import create_server

ENDPOINTS = [e for e in os.environ.get("KUBETO_TEST_CRI", "").split(",") if e]


@pytest.fixture(params=["fake", "fake-over-grpc", *ENDPOINTS])
async def runtime(request: pytest.FixtureRequest) -> AsyncIterator[Runtime]:
    if request.param == "fake":
        yield FakeRuntime()
        return
    with tempfile.TemporaryDirectory() as folder:
        endpoint, server = request.param, None
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
