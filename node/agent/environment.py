"""The environment of a container: service links, ``envFrom``, ``env``, in the order in which later ones win.

Source: kubelet ``makeEnvironmentVariables``; ``envvars.FromServices``.
"""

import asyncio
import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from node.agent.downward import ConfigError, PodFacts, field_value, resource_value
from node.agent.expansion import expand
from node.agent.pod_state import Object


class ObjectSource(Protocol):
    """Where config maps and secrets come from. None when there is no such object."""

    async def config_map(self, namespace: str, name: str) -> Object | None: ...
    async def secret(self, namespace: str, name: str) -> Object | None: ...


async def make_environment(
    facts: PodFacts,
    container: Object,
    source: ObjectSource,
    services: Iterable[Object],
    files: Callable[[Object], str | None] = lambda _: None,
) -> dict[str, str]:
    """The variables of a container. ``files`` looks a ``fileKeyRef`` up.

    Raises ConfigError when a required object, file or key is not there.
    """
    namespace = facts.pod["metadata"].get("namespace", "")
    links = facts.pod["spec"].get("enableServiceLinks", True)
    service_values = service_environment(_linked(services, namespace, links is not False))
    values: dict[str, str] = {}
    for entry in container.get("envFrom") or ():
        values |= await _from_object(source, namespace, entry)
    for entry in container.get("env") or ():
        known = service_values | values
        if entry.get("value"):
            values[entry["name"]] = expand(entry["value"], known)
        elif entry.get("valueFrom"):
            if ref := entry["valueFrom"].get("fileKeyRef"):
                found = await asyncio.to_thread(files, ref)
            else:
                found = await _value_from(facts, container, source, entry["valueFrom"])
            if found is not None:
                values[entry["name"]] = found
        else:
            values[entry["name"]] = ""
    return service_values | values


async def _from_object(source: ObjectSource, namespace: str, entry: Object) -> dict[str, str]:
    prefix = entry.get("prefix", "")
    if entry.get("configMapRef"):
        data = await config_map_data(source, namespace, entry["configMapRef"])
    elif entry.get("secretRef"):
        data = await secret_data(source, namespace, entry["secretRef"])
    else:
        return {}
    return {prefix + key: _text(value) for key, value in (data or {}).items()}


async def _value_from(facts: PodFacts, container: Object, source: ObjectSource, ref: Object) -> str | None:
    namespace = facts.pod["metadata"].get("namespace", "")
    if ref.get("fieldRef"):
        return field_value(facts, ref["fieldRef"]["fieldPath"])
    if ref.get("resourceFieldRef"):
        return resource_value(facts, ref["resourceFieldRef"], container["name"])
    if ref.get("configMapKeyRef"):
        key = ref["configMapKeyRef"]
        return _key(await config_map_data(source, namespace, key), key, "ConfigMap", namespace)
    if ref.get("secretKeyRef"):
        key = ref["secretKeyRef"]
        return _key(await secret_data(source, namespace, key), key, "Secret", namespace)
    raise ConfigError(f"unsupported valueFrom: {', '.join(ref)}")


def _key(data: Mapping[str, bytes] | None, ref: Object, kind: str, namespace: str) -> str | None:
    if data is not None and ref["key"] in data:
        return _text(data[ref["key"]])
    if ref.get("optional"):
        return None
    raise ConfigError(f"couldn't find key {ref['key']} in {kind} {namespace}/{ref['name']}")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ConfigError("an environment variable cannot hold what is not UTF-8") from error


async def config_map_data(
    source: ObjectSource, namespace: str, ref: Object, *, binary: bool = False
) -> dict[str, bytes] | None:
    """``data`` and, if ``binary``, ``binaryData``, which environments leave out; None when it is absent and optional.

    Raises ConfigError when it is only absent.
    """
    found = await source.config_map(namespace, ref["name"])
    if found is None:
        _check_optional("configmap", ref)
        return None
    data = {key: str(value).encode() for key, value in (found.get("data") or {}).items()}
    more = (found.get("binaryData") or {}) if binary else {}
    return data | {key: base64.b64decode(value) for key, value in more.items()}


async def secret_data(source: ObjectSource, namespace: str, ref: Object) -> dict[str, bytes] | None:
    """A secret's data, decoded; None and ConfigError as with config maps."""
    name = str(ref.get("name") or ref.get("secretName"))
    found = await source.secret(namespace, name)
    if found is None:
        _check_optional("secret", ref)
        return None
    return {key: base64.b64decode(value or "") for key, value in (found.get("data") or {}).items()}


def _check_optional(kind: str, ref: Object) -> None:
    if not ref.get("optional"):
        raise ConfigError(f'{kind} "{ref.get("name") or ref.get("secretName")}" not found')


def _linked(services: Iterable[Object], namespace: str, links: bool) -> list[Object]:
    """The services whose addresses a pod is told: those of its namespace, and the API server's always."""
    out = []
    for service in sorted(services, key=lambda s: str(s["metadata"]["name"])):
        meta, ip = service["metadata"], service["spec"].get("clusterIP")
        if not ip or ip == "None":
            continue
        master = meta["name"] == "kubernetes" and meta.get("namespace") == "default"
        if master or (links and meta.get("namespace") == namespace):
            out.append(service)
    return out


def service_environment(services: Iterable[Object]) -> dict[str, str]:
    """``WEB_SERVICE_HOST``, ``WEB_PORT`` and the rest that Docker's links had."""
    out: dict[str, str] = {}
    for service in services:
        name = service["metadata"]["name"].upper().replace("-", "_")
        ip, ports = service["spec"]["clusterIP"], service["spec"].get("ports") or ()
        if not ports:
            continue
        out[f"{name}_SERVICE_HOST"] = ip
        out[f"{name}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                out[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
        out |= _links(name, ip, ports)
    return out


def _links(name: str, ip: str, ports: Iterable[Object]) -> dict[str, str]:
    out: dict[str, str] = {}
    host = f"[{ip}]" if ":" in ip else ip
    for index, port in enumerate(ports):
        protocol = port.get("protocol") or "TCP"
        url = f"{protocol.lower()}://{host}:{port['port']}"
        if index == 0:
            out[f"{name}_PORT"] = url
        prefix = f"{name}_PORT_{port['port']}_{protocol.upper()}"
        out[prefix] = url
        out[f"{prefix}_PROTO"] = protocol.lower()
        out[f"{prefix}_PORT"] = str(port["port"])
        out[f"{prefix}_ADDR"] = ip
    return out
