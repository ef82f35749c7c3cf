"""What else a pod's spec names: the secrets, config maps, claims and the account that its node must read. Pure."""

from collections.abc import Iterator
from typing import Any

from apimachinery import scheme
from apimachinery.scheme import Kind

Spec = dict[str, Any]
Reference = tuple[Kind, str]
"""A kind and the name of an object of it in the pod's namespace."""


def references(pod_name: str, spec: Spec) -> Iterator[Reference]:
    yield scheme.SERVICE_ACCOUNTS, spec.get("serviceAccountName") or "default"
    for secret in spec.get("imagePullSecrets") or ():
        yield scheme.SECRETS, secret.get("name", "")
    for volume in spec.get("volumes") or ():
        yield from _volume(pod_name, volume)
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(key) or ():
            yield from _environment(container)


def _volume(pod_name: str, volume: Spec) -> Iterator[Reference]:
    if claim := volume.get("persistentVolumeClaim"):
        yield scheme.PERSISTENT_VOLUME_CLAIMS, claim.get("claimName", "")
    if "ephemeral" in volume:
        yield scheme.PERSISTENT_VOLUME_CLAIMS, f"{pod_name}-{volume.get('name', '')}"
    if secret := volume.get("secret"):
        yield scheme.SECRETS, secret.get("secretName", "")
    if config_map := volume.get("configMap"):
        yield scheme.CONFIG_MAPS, config_map.get("name", "")
    if publish := (volume.get("csi") or {}).get("nodePublishSecretRef"):
        yield scheme.SECRETS, publish.get("name", "")
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield from _sources(source, "secret", "configMap")


def _environment(container: Spec) -> Iterator[Reference]:
    for source in container.get("envFrom") or ():
        yield from _sources(source, "secretRef", "configMapRef")
    for variable in container.get("env") or ():
        yield from _sources(variable.get("valueFrom") or {}, "secretKeyRef", "configMapKeyRef")


def _sources(source: Spec, secret: str, config_map: str) -> Iterator[Reference]:
    if secret in source:
        yield scheme.SECRETS, source[secret].get("name", "")
    if config_map in source:
        yield scheme.CONFIG_MAPS, source[config_map].get("name", "")
