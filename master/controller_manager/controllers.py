"""The controllers that exist: one line each."""

from master.controller_manager.deployment import DeploymentController
from master.controller_manager.frame import ManagedController
from master.controller_manager.replicaset import ReplicaSetController
from master.controller_manager.replicationcontroller import ReplicationControllerController

CONTROLLERS: tuple[type[ManagedController], ...] = (
    DeploymentController,
    ReplicaSetController,
    ReplicationControllerController,
)
