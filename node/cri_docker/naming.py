"""Names and labels: how a sandbox or a container of the CRI is recognised among the engine's containers.

Names follow from the metadata alone, so that a create whose answer was lost is found again instead of done
twice. The whole CRI configuration travels in one label (encoded protobuf, without the environment, which the
engine keeps itself): labels and annotations come back exactly, and images cannot add to them.
"""

import base64
from collections.abc import Mapping

from protos.cri.runtime.v1 import api_pb2 as cri

NODE = "io.kubeto.node"
KIND = "io.kubeto.kind"
SANDBOX = "io.kubeto.sandbox"
CONFIG = "io.kubeto.config"
HANDLER = "io.kubeto.runtime-handler"
LOG = "io.kubeto.log-path"
KIND_SANDBOX, KIND_CONTAINER = "sandbox", "container"


def sandbox_name(meta: cri.PodSandboxMetadata) -> str:
    return f"k8s_POD_{meta.name}_{meta.namespace}_{meta.uid}_{meta.attempt}"


def container_name(meta: cri.ContainerMetadata, pod: cri.PodSandboxMetadata) -> str:
    return f"k8s_{meta.name}_{pod.name}_{pod.namespace}_{pod.uid}_{meta.attempt}"


def sandbox_labels(node: str, config: cri.PodSandboxConfig, handler: str) -> dict[str, str]:
    return {NODE: node, KIND: KIND_SANDBOX, HANDLER: handler, CONFIG: _pack(config), **_for_people(config.metadata)}


def container_labels(
    node: str, sandbox_id: str, config: cri.ContainerConfig, sandbox: cri.PodSandboxConfig
) -> dict[str, str]:
    kept = cri.ContainerConfig()
    kept.CopyFrom(config)
    del kept.envs[:]
    labels = {NODE: node, KIND: KIND_CONTAINER, SANDBOX: sandbox_id, CONFIG: _pack(kept)}
    if log := log_path(config, sandbox):
        labels[LOG] = log
    return labels | _for_people(sandbox.metadata) | {"io.kubernetes.container.name": config.metadata.name}


def log_path(config: cri.ContainerConfig, sandbox: cri.PodSandboxConfig) -> str:
    """The full path of a container's log; "" where none is wanted."""
    if not (sandbox.log_directory and config.log_path):
        return ""
    return f"{sandbox.log_directory.rstrip('/')}/{config.log_path}"


def sandbox_config(labels: Mapping[str, str]) -> cri.PodSandboxConfig:
    return cri.PodSandboxConfig.FromString(base64.b64decode(labels[CONFIG]))


def container_config(labels: Mapping[str, str]) -> cri.ContainerConfig:
    return cri.ContainerConfig.FromString(base64.b64decode(labels[CONFIG]))


def _pack(config: cri.PodSandboxConfig | cri.ContainerConfig) -> str:
    return base64.b64encode(config.SerializeToString(deterministic=True)).decode()


def _for_people(pod: cri.PodSandboxMetadata) -> dict[str, str]:
    """What ``docker ps --filter label=`` is good for; nothing here reads these back."""
    return {
        "io.kubernetes.pod.name": pod.name,
        "io.kubernetes.pod.namespace": pod.namespace,
        "io.kubernetes.pod.uid": pod.uid,
    }
