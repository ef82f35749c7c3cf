"""Every validation spec runs on kubeto-cri-docker; ``KUBETO_TEST_CONTAINERD=1`` adds containerd, and specs marked with
``on_fake`` run on the in-memory fake as well."""

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.cri.fake import FakeRuntime
from node.cri.fake_images import FakeOptions
from node.cri.server import create_server
from protos.cri.runtime.v1 import api_pb2_grpc
from tests.contract.cri.kit import Kit
from tests.contract.cri.registry import Registry, fill
from tests.contract.cri.targets import Target, channel, cri_docker, inside, own_containerd, own_node, wait_for
from tests.docker_runtime import engine_is_here

_REAL = [pytest.param("cri-docker", marks=[pytest.mark.docker, pytest.mark.root])]
if os.environ.get("KUBETO_TEST_CONTAINERD"):
    _REAL.append(pytest.param("containerd", marks=[pytest.mark.docker, pytest.mark.root]))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        fake = ["fake"] if getattr(metafunc.function, "on_fake", False) else []
        metafunc.parametrize("target", [*_REAL, *fake], indirect=True, scope="session")


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    registry = Registry()
    fill(registry)
    registry.listen()
    yield registry
    registry.close()


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp(request.param)
    with contextlib.ExitStack() as stack:
        registry = None
        if request.param == "fake":
            socket = stack.enter_context(_fake(folder))
        else:
            if not engine_is_here() or (request.param == "containerd" and not shutil.which("containerd")):
                pytest.skip(f"needs root, Docker, its test images and {request.param}")
            registry = request.getfixturevalue("registry")
            node = stack.enter_context(own_node())
            run = cri_docker if request.param == "cri-docker" else own_containerd
            with inside(node.netns):
                if request.param == "containerd":
                    registry.listen()
            socket = stack.enter_context(run(node, folder))
        wait_for(socket)
        opened = stack.enter_context(contextlib.closing(channel(socket)))
        services = api_pb2_grpc.RuntimeServiceStub(opened), api_pb2_grpc.ImageServiceStub(opened)
        netns = node.netns if registry else "/proc/self/ns/net"
        made = Target(request.param, *services, registry, folder, netns)
        yield made
        made.forget_images()


@contextlib.contextmanager
def _fake(folder: Path) -> Iterator[str]:
    """In a thread of its own: the specs are synchronous."""
    started, ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = create_server(FakeRuntime(FakeOptions()), f"unix:{folder}/fake.sock")
        await server.start()
        started.set()
        await ended.wait()
        await server.stop(None)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    started.wait(10)
    yield f"{folder}/fake.sock"
    loop.call_soon_threadsafe(ended.set)
    thread.join(10)


@pytest.fixture
def kit(target: Target, tmp_path: Path) -> Iterator[Kit]:
    """What a spec works with; all its pods are removed after it."""
    with inside(target.netns):
        made = Kit(target, tmp_path)
        yield made
        made.clean_up()
