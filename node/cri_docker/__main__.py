"""``kubeto-cri-docker``: the CRI on a unix socket, over a Docker engine."""

import asyncio
import fcntl
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from apimachinery import flags, lifecycle, logging
from node.cri_docker.options import Options

if TYPE_CHECKING:
    import grpc

    from node.cri_docker.runtime import Runtime

_DRAIN_SECONDS = 10.0
_MESSAGE_LIMIT = 16 * 1024 * 1024
_log = logging.get_logger(__name__)


def options(argv: Sequence[str] | None = None) -> Options:
    """From the command line; ends the program with a message if it is wrong."""
    given = flags.parse(Options, "kubeto-cri-docker", "CRI runtime.v1 over a Docker engine", argv)
    if not given.listen.startswith("unix://"):
        raise SystemExit(f"--listen {given.listen}: only unix:///path is supported")
    return replace(given, state_dir=os.path.abspath(given.state_dir))


async def serve(config: Options) -> None:
    """Serve until cancelled; then let verbs under way end."""
    # Plugins are started by fork and exec: gRPC's handlers for forks that go on would only warn of them.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    import grpc

    from node.cri_docker import network, rpc
    from node.cri_docker.image_service import ImageService
    from node.cri_docker.runtime import Runtime
    from node.cri_docker.runtime_service import RuntimeService
    from node.cri_docker.streaming.server import StreamingServer
    from node.cri_docker.streaming.urls import StreamingUrls
    from protos.cri.runtime.v1 import api_pb2_grpc

    state_lock = await _lock_state(config.state_dir)
    runtime = Runtime(config, network.load(config.sandbox_network))
    urls = StreamingUrls(runtime.cache)
    streaming = StreamingServer(runtime, urls)
    await streaming.start(config.streaming_address)
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
            ("grpc.max_send_message_length", _MESSAGE_LIMIT),
        ]
    )
    api_pb2_grpc.add_RuntimeServiceServicer_to_server(RuntimeService(runtime, urls), server)
    api_pb2_grpc.add_ImageServiceServicer_to_server(ImageService(runtime), server)
    path = config.listen.removeprefix("unix://")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path):
        os.unlink(path)  # of a predecessor that was killed
    server.add_insecure_port(f"unix:{path}")
    try:
        async with lifecycle.Tasks() as tasks:
            tasks.start("runtime", runtime.run())
            tasks.start("server", _serve(server, runtime, path), may_end=True)
            await tasks.wait()
    finally:
        runtime.cache.end_subscriptions()
        await streaming.close()
        await server.stop(_DRAIN_SECONDS / 2)
        async with asyncio.timeout(_DRAIN_SECONDS / 2):
            await rpc.drain()
        runtime.close()
        state_lock.close()


async def _lock_state(state_dir: str) -> TextIO:
    """Two shims on one state would fight; a predecessor that drains is waited for. Raises TimeoutError."""
    file = _open_lock(state_dir)
    try:
        async with asyncio.timeout(_DRAIN_SECONDS + 5):
            while not _locked(file):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise TimeoutError(f"another kubeto-cri-docker has its state in {state_dir}") from None
    return file


def _open_lock(state_dir: str) -> TextIO:
    os.makedirs(state_dir, mode=0o700, exist_ok=True)
    return open(os.path.join(state_dir, "lock"), "w", encoding="ascii")


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _serve(server: "grpc.aio.Server", runtime: "Runtime", path: str) -> None:
    await runtime.wait_attempted()
    await server.start()
    os.chmod(path, 0o600)
    _log.info("Serving the CRI", socket=path)


def main(arguments: Sequence[str] | None = None) -> None:
    config = options(arguments)
    logging.setup(config.v)
    sys.exit(lifecycle.run(lambda: serve(config), drain_seconds=_DRAIN_SECONDS + 2))


if __name__ == "__main__":
    main()
