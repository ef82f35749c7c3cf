"""The controllers that exist: one line each."""

from master.controller_manager.daemonset import DaemonSetController
from master.controller_manager.deployment import DeploymentController
from master.controller_manager.frame import AnyController
from master.controller_manager.garbage_collector import GarbageCollectorController
from master.controller_manager.namespace import NamespaceController
from master.controller_manager.replicaset import ReplicaSetController
from master.controller_manager.replicationcontroller import ReplicationControllerController

CONTROLLERS: tuple[type[AnyController], ...] = (
    DaemonSetController,
    DeploymentController,
    GarbageCollectorController,
    NamespaceController,
    ReplicaSetController,
    ReplicationControllerController,
)
