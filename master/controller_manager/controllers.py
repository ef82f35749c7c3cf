"""The controllers that exist: one line each."""

from master.controller_manager.attach_detach import AttachDetachController
from master.controller_manager.certificate_signing import CertificateSigningController
from master.controller_manager.clusterrole_aggregation import ClusterRoleAggregationController
from master.controller_manager.cronjob import CronJobController
from master.controller_manager.daemonset import DaemonSetController
from master.controller_manager.deployment import DeploymentController
from master.controller_manager.disruption import DisruptionController
from master.controller_manager.endpoints import EndpointsController
from master.controller_manager.endpointslice import EndpointSliceController
from master.controller_manager.endpointslicemirroring import EndpointSliceMirroringController
from master.controller_manager.ephemeral_volume import EphemeralVolumeController
from master.controller_manager.frame import AnyController
from master.controller_manager.garbage_collector import GarbageCollectorController
from master.controller_manager.job import JobController
from master.controller_manager.local_path import LocalPathProvisioner
from master.controller_manager.namespace import NamespaceController
from master.controller_manager.node_ipam import NodeIpamController
from master.controller_manager.node_lifecycle import NodeLifecycleController
from master.controller_manager.persistentvolume_binder import PersistentVolumeBinder
from master.controller_manager.pod_gc import PodGCController
from master.controller_manager.replicaset import ReplicaSetController
from master.controller_manager.replicationcontroller import ReplicationControllerController
from master.controller_manager.resource_quota import ResourceQuotaController
from master.controller_manager.root_ca import RootCAPublisher
from master.controller_manager.service_cidr import ServiceCIDRController
from master.controller_manager.serviceaccount import ServiceAccountController
from master.controller_manager.statefulset import StatefulSetController
from master.controller_manager.taint_eviction import TaintEvictionController
from master.controller_manager.ttl_after_finished import TtlAfterFinishedController
from master.controller_manager.volume_protection import (
    AttributesClassProtectionController,
    ClaimProtectionController,
    VolumeProtectionController,
)

CONTROLLERS: tuple[type[AnyController], ...] = (
    AttachDetachController,
    CertificateSigningController,
    ClaimProtectionController,
    ClusterRoleAggregationController,
    CronJobController,
    DaemonSetController,
    DeploymentController,
    DisruptionController,
    EndpointSliceController,
    EndpointSliceMirroringController,
    EndpointsController,
    EphemeralVolumeController,
    GarbageCollectorController,
    JobController,
    LocalPathProvisioner,
    NamespaceController,
    NodeIpamController,
    NodeLifecycleController,
    PersistentVolumeBinder,
    PodGCController,
    ReplicaSetController,
    ReplicationControllerController,
    ResourceQuotaController,
    StatefulSetController,
    TtlAfterFinishedController,
    RootCAPublisher,
    ServiceAccountController,
    ServiceCIDRController,
    TaintEvictionController,
    AttributesClassProtectionController,
    VolumeProtectionController,
)
