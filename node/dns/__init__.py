"""The cluster's DNS, on every node: each pod asks the server of its own node.

``message`` is the wire format; ``zone`` answers for the cluster's domain from Services and EndpointSlices; ``upstream``
asks the node's own resolvers for everything else; ``server`` listens.

Source of names and answers: the Kubernetes DNS specification 1.1.0 (kubernetes/dns, docs/specification.md); where it
is silent, CoreDNS' plugin ``kubernetes`` with ``pods insecure``.
"""

from node.dns.server import DnsConfig, run

__all__ = ["DnsConfig", "run"]
