"""What a user sees of the nodes."""

import pytest

from tests.e2e.local_cluster import LocalCluster

pytestmark = [pytest.mark.docker, pytest.mark.root]


def test_a_node_owns_its_lease(cluster: LocalCluster) -> None:
    """So that the Lease goes with the node."""
    for node in cluster.get("nodes")["items"]:
        lease = cluster.get("lease", node["metadata"]["name"], "--namespace=kube-node-lease")
        (owner,) = lease["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Node", node["metadata"]["uid"])
        assert lease["spec"]["holderIdentity"] == node["metadata"]["name"]
