"""A kopf operator, as its user writes it, run by ``kopf run``: finalizers, a timer, a daemon, an index, status patches.

It serves the custom kind Web: each gets a Deployment of ``spec.replicas`` replicas.
"""

import asyncio
from typing import Any

import kopf
import kubernetes_asyncio as aio

WEBS = ("example.dev", "v1", "webs")


@kopf.on.startup()
async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = True
    settings.persistence.finalizer = "example.dev/kopf"
    await aio.config.load_kube_config()


@kopf.index(*WEBS)
def by_name(name: str, **_: Any) -> dict[str, str]:
    return {"names": name}


@kopf.on.create(*WEBS)
async def create(name: str, namespace: str, spec: kopf.Spec, body: kopf.Body, patch: kopf.Patch, **_: Any) -> str:
    labels = {"app": name}
    pod = {"containers": [{"name": "main", "image": "kubeto/busybox:1"}], "terminationGracePeriodSeconds": 0}
    child: dict[str, Any] = {
        "metadata": {"name": name},
        "spec": {
            "replicas": spec["replicas"],
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    kopf.adopt(child)
    async with aio.client.ApiClient() as api:
        await aio.client.AppsV1Api(api).create_namespaced_deployment(namespace, child)
    kopf.info(body, reason="Served", message="made a deployment")
    patch.status["replicas"] = spec["replicas"]
    return "made"


@kopf.on.update(*WEBS, field="spec.replicas")
async def scale(name: str, namespace: str, new: int, patch: kopf.Patch, **_: Any) -> None:
    async with aio.client.ApiClient() as api:
        body = {"spec": {"replicas": new}}
        await aio.client.AppsV1Api(api).patch_namespaced_deployment_scale(name, namespace, body)
    patch.status["replicas"] = new


@kopf.daemon(*WEBS, cancellation_timeout=1.0)
async def watch_over(stopped: kopf.DaemonStopped, memo: kopf.Memo, **_: Any) -> None:
    while not stopped:
        memo.watched = True
        await asyncio.sleep(0.1)


@kopf.timer(*WEBS, interval=0.2)
def tick(patch: kopf.Patch, status: kopf.Status, memo: kopf.Memo, by_name: kopf.Index[str, str], **_: Any) -> None:
    patch.status["ticks"] = min(status.get("ticks", 0) + 1, 3)
    patch.status["seen"] = f"{len(by_name['names'])} {memo.get('watched')}"


@kopf.on.delete(*WEBS)
async def remove(namespace: str, name: str, **_: Any) -> None:
    """Leave a trace, which only an operator that was asked before the end can."""
    async with aio.client.ApiClient() as api:
        trace = {"metadata": {"name": f"was-{name}"}}
        await aio.client.CoreV1Api(api).create_namespaced_config_map(namespace, trace)
