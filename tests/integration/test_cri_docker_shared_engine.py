"""Several nodes on one engine, and pods in a node's own network."""

import subprocess
from pathlib import Path

import pytest

from protos.cri.runtime.v1 import api_pb2 as cri
from tests.docker_runtime import Shim, connected, engine_is_here

pytestmark = [pytest.mark.docker, pytest.mark.root]


async def test_nodes_do_not_see_each_other(shim: Shim, tmp_path: Path) -> None:
    other = Shim(tmp_path)
    other.prepare()
    other.start()
    try:
        async with connected(shim) as one, connected(other) as two:
            sandbox = await one.run_pod(one.pod())
            await two.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox))
            assert not (await two.runtime.ListPodSandbox(cri.ListPodSandboxRequest())).items
            listed = (await one.runtime.ListPodSandbox(cri.ListPodSandboxRequest())).items
            assert [(item.id, item.state) for item in listed] == [(sandbox, cri.SANDBOX_READY)]
            await one.remove_pod(sandbox)
    finally:
        other.clean_up()


async def test_a_host_network_pod_is_in_the_nodes_network_with_a_resolv_conf_of_its_own(tmp_path: Path) -> None:
    if not engine_is_here():
        pytest.skip("needs root, Docker and the test images")
    node = Shim(tmp_path)
    label = f"io.kubeto.test={node.node}"
    command = ["docker", "run", "-d", "--rm", "--label", label, "--network", "none", "kubeto/pause:2"]
    owner = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    node.host_network_container = owner
    node.prepare()
    node.start()
    try:
        async with connected(node) as client:
            config = client.pod(dns_config=cri.DNSConfig(servers=["10.96.0.10"]))
            config.linux.security_context.namespace_options.network = cri.NODE
            sandbox = await client.run_pod(config)
            wanted = client.container(["/bin/sleep", "1000"])
            wanted.linux.security_context.namespace_options.network = cri.NODE
            container = await client.run(sandbox, wanted)
            inside = await client.exec(container, "/bin/readlink", "/proc/self/ns/net")
            of_owner = subprocess.run(
                ["docker", "exec", owner, "/bin/busybox", "readlink", "/proc/self/ns/net"],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            assert inside == of_owner
            assert await client.exec(container, "/bin/cat", "/etc/resolv.conf") == "nameserver 10.96.0.10\n"
            await client.remove_pod(sandbox)
    finally:
        node.clean_up()
        subprocess.run(["docker", "rm", "-f", owner], capture_output=True, check=False)
