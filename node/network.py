"""The network parts of a node process: routes to the other nodes, the service proxy, the cluster DNS.

Each is a named task that shares the process's informers, and runs in the process's own network namespace.
"""

import argparse

from apimachinery.client.informer import InformerFactory
from apimachinery.lifecycle import Tasks
from node import dns, routes
from node.agent.settings import AgentSettings
from node.proxy import proxy


def start(tasks: Tasks, informers: InformerFactory, args: argparse.Namespace, settings: AgentSettings) -> None:
    """Start those that the flags ask for."""
    if args.routes:
        config = routes.RoutesConfig(
            node_name=settings.node_name,
            cluster_cidr=args.cluster_cidr,
            service_cidr=args.service_cluster_ip_range,
            cluster_dns=next(iter(settings.cluster_dns), "") if args.dns else "",
        )
        tasks.start("routes", routes.run(informers, config))
    if args.proxy:
        rules = proxy.ProxyConfig(node_name=settings.node_name, cluster_cidr=args.cluster_cidr)
        tasks.start("proxy", proxy.run(informers, rules))
    if args.dns and settings.cluster_dns:
        zone = dns.DnsConfig(address=settings.cluster_dns[0], domain=settings.cluster_domain)
        tasks.start("dns", dns.run(informers, zone))


def cleanup() -> None:
    """Take the routes, rules and links of these parts out of the caller's namespace. Raises OSError, NftError.

    Needed only on a machine that stays in use: elsewhere they go with the node's namespace.
    """
    proxy.remove()
    routes.remove()
