"""A node's network half as a process: its cluster is in memory and follows commands on stdin, one JSON a line.

``{"put": object}`` creates or replaces, ``{"delete": object}`` deletes; each is answered by ``ok`` on stdout.
"""

import argparse
import asyncio
import json
import sys
from typing import Any

from apimachinery.client.informer import InformerFactory
from apimachinery.lifecycle import Tasks
from apimachinery.logging import setup
from apimachinery.scheme import ENDPOINT_SLICES, NODES, PODS, SERVICES
from node import dns, proxy, routes
from tests import fakes

KINDS = {kind.kind: kind for kind in (NODES, SERVICES, ENDPOINT_SLICES, PODS)}


def follow(cluster: fakes.FakeCluster, command: dict[str, Any]) -> None:
    ((verb, obj),) = command.items()
    kind, meta = KINDS[obj["kind"]], obj["metadata"]
    old = cluster.find(kind, meta.get("namespace", ""), meta["name"])
    if verb == "delete":
        cluster.delete(kind, meta.get("namespace", ""), meta["name"])
        return
    made = cluster.update(kind, obj) if old else cluster.create(kind, obj)
    if "status" in obj:
        cluster.update(kind, {**made, "status": obj["status"]}, "status")


async def main(name: str, resolv_conf: str) -> None:
    setup()
    cluster = fakes.FakeCluster()
    informers = InformerFactory(fakes.client(cluster))
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with Tasks() as tasks:
        tasks.start("routes", routes.run(informers, routes.RoutesConfig(name, cluster_dns="10.96.0.10")))
        tasks.start("proxy", proxy.run(informers, proxy.ProxyConfig(name)))
        tasks.start("dns", dns.run(informers, dns.DnsConfig("10.96.0.10", resolv_conf=resolv_conf)))
        tasks.start("informers", informers.run())
        while line := await reader.readline():
            follow(cluster, json.loads(line))
            print("ok", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("resolv_conf")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.name, arguments.resolv_conf))
