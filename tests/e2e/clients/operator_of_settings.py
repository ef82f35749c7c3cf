"""A kopf operator, as its user writes it, run by ``kopf run``: finalizers, a timer, a daemon, an index, status patches.

It serves ConfigMaps with the label ``operated``: each gets a Deployment of ``data.replicas`` replicas.
"""

import asyncio
from typing import Any

import kopf
import kubernetes_asyncio as aio

OPERATED = {"operated": kopf.PRESENT}


@kopf.on.startup()
async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = True
    settings.persistence.finalizer = "example.dev/kopf"
    await aio.config.load_kube_config()


@kopf.index("configmaps", labels=OPERATED)
def by_name(name: str, **_: Any) -> dict[str, str]:
    return {"names": name}


@kopf.on.create("configmaps", labels=OPERATED)
async def create(name: str, namespace: str, body: kopf.Body, **_: Any) -> str:
    labels = {"app": name}
    pod = {"containers": [{"name": "main", "image": "kubeto/busybox:1"}], "terminationGracePeriodSeconds": 0}
    child: dict[str, Any] = {
        "metadata": {"name": name},
        "spec": {
            "replicas": int(body["data"]["replicas"]),
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    kopf.adopt(child)
    async with aio.client.ApiClient() as api:
        await aio.client.AppsV1Api(api).create_namespaced_deployment(namespace, child)
    kopf.info(body, reason="Served", message="made a deployment")
    return "made"


@kopf.on.update("configmaps", labels=OPERATED, field="data.replicas")
async def scale(name: str, namespace: str, new: str, **_: Any) -> None:
    async with aio.client.ApiClient() as api:
        patch = {"spec": {"replicas": int(new)}}
        await aio.client.AppsV1Api(api).patch_namespaced_deployment_scale(name, namespace, patch)


@kopf.daemon("configmaps", labels=OPERATED, cancellation_timeout=1.0)
async def watch_over(stopped: kopf.DaemonStopped, memo: kopf.Memo, **_: Any) -> None:
    while not stopped:
        memo.watched = True
        await asyncio.sleep(0.1)


@kopf.timer("configmaps", labels=OPERATED, interval=0.2)
def tick(patch: kopf.Patch, annotations: Any, memo: kopf.Memo, by_name: kopf.Index[str, str], **_: Any) -> None:
    patch.metadata.annotations["ticks"] = str(min(int(annotations.get("ticks", 0)) + 1, 3))
    patch.metadata.annotations["seen"] = f"{len(by_name['names'])} {memo.get('watched')}"


@kopf.on.delete("configmaps", labels=OPERATED)
async def remove(namespace: str, name: str, **_: Any) -> None:
    """Leave a trace, which only an operator that was asked before the end can."""
    async with aio.client.ApiClient() as api:
        trace = {"metadata": {"name": f"was-{name}"}}
        await aio.client.CoreV1Api(api).create_namespaced_config_map(namespace, trace)
