"""ReplicationControllers: ReplicaSets with a plain map as selector."""

from apimachinery.meta import Object
from apimachinery.scheme import kind_of
from apimachinery.selectors import LabelSelector, from_map
from master.controller_manager.replicaset import ReplicaSetController


class ReplicationControllerController(ReplicaSetController):
    name = "replicationcontroller-controller"
    component = "replication-controller"
    kind = kind_of("replicationcontrollers")

    def selector(self, owner: Object) -> LabelSelector:
        return from_map(owner["spec"].get("selector"))
