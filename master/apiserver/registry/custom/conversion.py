"""From one version of a custom kind to another: by name only, or by asking a webhook.

Source: ``k8s.io/apiextensions-apiserver/pkg/apiserver/conversion``.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from apimachinery.errors import InternalError

from ...identifiers import new_uid
from ...outgoing.client import CallFailed

Object = dict[str, Any]
Convert = Callable[[list[Object], str], Awaitable[list[Object]]]
"""Objects, each the converter's own, in the order given, and the apiVersion that they shall have. Raises
InternalError."""
Call = Callable[[Object, Object, float], Awaitable[Object]]
"""``WebhookClient.call``."""

_TIMEOUT_SECONDS = 30.0
_MAY_CHANGE = ("labels", "annotations")


async def by_name(objects: list[Object], api_version: str) -> list[Object]:
    """All versions are the same but for their name."""
    for obj in objects:
        obj["apiVersion"] = api_version
    return objects


class Webhook:
    """Asks the webhook of a definition's ``spec.conversion.webhook``."""

    def __init__(self, webhook: Object, call: Call) -> None:
        self._config: Object = webhook["clientConfig"]
        known = (v for v in webhook.get("conversionReviewVersions") or () if v in ("v1", "v1beta1"))
        self._review = f"apiextensions.k8s.io/{next(known, 'v1')}"
        self._call = call

    async def __call__(self, objects: list[Object], api_version: str) -> list[Object]:
        foreign = [o for o in objects if o["apiVersion"] != api_version]
        if not foreign:
            return objects
        about = _about(foreign[0])
        try:
            converted = iter(await self._ask(foreign, api_version))
        except CallFailed as error:
            raise InternalError(f"conversion webhook for {about} failed: {error.message}") from error
        return [o if o["apiVersion"] == api_version else next(converted) for o in objects]

    async def _ask(self, objects: list[Object], api_version: str) -> list[Object]:
        """Raises CallFailed, InternalError."""
        uid = new_uid()
        request = {"uid": uid, "desiredAPIVersion": api_version, "objects": objects}
        review = {"kind": "ConversionReview", "apiVersion": self._review, "request": request}
        response = (await self._call(self._config, review, _TIMEOUT_SECONDS)).get("response")
        if not isinstance(response, dict):
            raise CallFailed("no response provided")
        if response.get("uid") != uid and self._review.endswith("v1"):
            raise CallFailed(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
        result = response.get("result") or {}
        if result.get("status") != "Success":
            status = result.get("status", "")
            raise CallFailed(result.get("message") or f"response.result.status was '{status}', not 'Success'")
        converted = response.get("convertedObjects") or []
        if len(converted) != len(objects):
            told = f"returned {len(converted)} objects, expected {len(objects)}"
            raise InternalError(f"conversion webhook for {_about(objects[0])} {told}")
        for index, (before, after) in enumerate(zip(objects, converted, strict=True)):
            _settle(before, after, api_version, index)
        return list(converted)


def _settle(before: Object, after: Any, api_version: str, index: int) -> None:
    """A webhook may change everything but what the object is; of its metadata, labels and annotations only. Raises
    InternalError."""
    where = f"conversion webhook for {_about(before)} returned invalid converted object at index {index}"
    if not isinstance(after, dict) or not isinstance(after.get("metadata"), dict):
        raise InternalError(f"{where}: it is no object with metadata")
    if after.get("apiVersion") != api_version:
        told = f"(expected {api_version}, received {after.get('apiVersion')})"
        raise InternalError(f"{where}: invalid groupVersion {told}")
    if after.get("kind") != before["kind"]:
        told = f"(expected {before['kind']}, received {after.get('kind')})"
        raise InternalError(f"{where}: invalid kind {told}")
    was, now = before["metadata"], after["metadata"]
    for key in ("name", "namespace", "uid"):
        if was.get(key) != now.get(key):
            told = f"{was.get(key, '')} != {now.get(key, '')}"
            raise InternalError(f"{where}: must have the same {'UID' if key == 'uid' else key}: {told}")
    kept = {k: v for k, v in was.items() if k not in _MAY_CHANGE}
    after["metadata"] = kept | {k: now[k] for k in _MAY_CHANGE if now.get(k)}


def _about(obj: Object) -> str:
    group, _, version = obj["apiVersion"].rpartition("/")
    return f"{group}/{version}, Kind={obj.get('kind')}"


def converter(definition: Object, call: Call) -> Convert:
    """What the definition asks for."""
    conversion = definition["spec"].get("conversion") or {}
    return Webhook(conversion["webhook"], call) if conversion.get("strategy") == "Webhook" else by_name
