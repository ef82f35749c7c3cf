"""``kubeto-cri-docker``: the CRI on a unix socket, over a Docker engine."""

import argparse
import asyncio
import fcntl
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from apimachinery import lifecycle, logging
from node.cri_docker.options import Options

if TYPE_CHECKING:
    import grpc

    from node.cri_docker.runtime import Runtime

_DRAIN_SECONDS = 10.0
_MESSAGE_LIMIT = 16 * 1024 * 1024
_log = logging.get_logger(__name__)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("kubeto-cri-docker", description="CRI runtime.v1 over a Docker engine")
    p.add_argument("--listen", required=True, help="where the CRI is served: unix:///path")
    p.add_argument("--docker-host", default=Options.docker_host, help="the engine: unix:///path (%(default)s)")
    p.add_argument("--state-dir", default=Options.state_dir, help="what must outlive a restart (%(default)s)")
    p.add_argument("--node-name", required=True, help="only containers of this node are seen; engines can be shared")
    p.add_argument("--sandbox-image", default=Options.sandbox_image, help="what a pod's sandbox runs (%(default)s)")
    p.add_argument("--sandbox-network", default=Options.sandbox_network, help="cni, or loopback for none")
    p.add_argument("--cni-conf-dir", default=Options.cni_conf_dir, help="(%(default)s)")
    p.add_argument("--cni-bin-dir", action="append", help="where CNI plugins are; may be repeated")
    p.add_argument(
        "--host-network-container",
        default="",
        help="the container whose network is the node's; without it hostNetwork pods use the engine's own",
    )
    p.add_argument(
        "--streaming-address", default=Options.streaming_address, help="exec, attach, port-forward (%(default)s)"
    )
    p.add_argument("--v", type=int, default=2, help="verbosity; 4 and more debugs")
    return p


def options(arguments: argparse.Namespace) -> Options:
    if not arguments.listen.startswith("unix://"):
        raise SystemExit(f"--listen {arguments.listen}: only unix:///path is supported")
    return Options(
        listen=arguments.listen,
        docker_host=arguments.docker_host,
        state_dir=os.path.abspath(arguments.state_dir),
        node_name=arguments.node_name,
        sandbox_image=arguments.sandbox_image,
        sandbox_network=arguments.sandbox_network,
        cni_conf_dir=arguments.cni_conf_dir,
        cni_bin_dirs=tuple(arguments.cni_bin_dir or Options.cni_bin_dirs),
        host_network_container=arguments.host_network_container,
        streaming_address=arguments.streaming_address,
    )


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
    parsed = parser().parse_args(arguments)
    logging.setup(parsed.v)
    config = options(parsed)
    sys.exit(lifecycle.run(lambda: serve(config), drain_seconds=_DRAIN_SECONDS + 2))


if __name__ == "__main__":
    main()
