"""``make bench``: every figure of this build beside its goal. Takes about seven minutes; best on an idle machine."""

import tempfile
from pathlib import Path

from apimachinery import lifecycle
from apimachinery.client.api import ApiClient
from apimachinery.config import load_kubeconfig
from bench import api_server, cri_runtimes, fairness, hollow, pods, scheduling, size, up, watchers
from bench.report import Figure, show

_NODES, _PODS = 1000, 3000


def scheduler() -> list[Figure]:
    """3,000 pods on 1,000 nodes: an API server and etcd of its own, the scheduler in this process."""
    with tempfile.TemporaryDirectory() as folder, api_server.api_server(Path(folder)) as (target, _, _):
        kubeconfig = Path(folder) / "admin.conf"
        api_server.write_kubeconfig(Path(folder), target, kubeconfig)
        rates: list[float] = []

        async def measure() -> None:
            client = await ApiClient.connect(load_kubeconfig(str(kubeconfig)), user_agent="bench")
            try:
                rates.append(await scheduling.bindings_per_second(client, _NODES, _PODS))
            finally:
                await client.close()

        lifecycle.run(measure)
    return [Figure(f"schedule {_PODS:,} pods on {_NODES:,} nodes, bindings stored", rates[0], "/s", 5 * 280, True)]


def main() -> None:
    """Run all; each part's figures are printed when it is done."""
    master = (api_server.run, scheduler, size.run, watchers.run, fairness.run)
    for part in (*master, up.run, pods.run, hollow.run, cri_runtimes.run):
        show(part())


if __name__ == "__main__":
    main()
