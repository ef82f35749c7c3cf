"""The service proxy: packets for a Service's addresses go to one of its endpoints, by nftables.

``model`` reads Services and EndpointSlices; ``plan`` decides, purely, which chains, sets and map elements they need;
``script`` writes the difference between two plans as one nft transaction; ``proxy`` watches and applies.

Works: ClusterIP, NodePort (every address of the node but 127.0.0.0/8, as upstream's nftables mode), externalIPs,
addresses of load balancers (not with loadBalancerSourceRanges), session affinity by client address, both traffic
policies, endpoints that terminate but still serve, hairpin, TCP, UDP and SCTP, refusal where there is no endpoint.
Not done: IPv6, topology hints.
"""

from node.proxy.proxy import ProxyConfig, remove, run

__all__ = ["ProxyConfig", "remove", "run"]
