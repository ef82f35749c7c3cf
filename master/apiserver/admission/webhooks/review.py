"""AdmissionReviews: the question that a webhook gets, and what its answer means. Pure.

Source: ``k8s.io/apiserver/pkg/admission/plugin/webhook/request``, ``.../webhook/errors``.
"""

import base64
import binascii
from typing import Any

import orjson

from apimachinery import errors
from apimachinery.errors import ApiError

Object = dict[str, Any]
VERSIONS = ("v1", "v1beta1")
GROUP = "admission.k8s.io"


class InvalidAnswer(Exception):
    """The webhook answered, but not with what was asked for."""


def build(told: Object, uid: str, version: str, obj: Object | None, old: Object | None) -> Object:
    """``told`` is from ``request_json``; ``version`` of the review."""
    request = {"uid": uid, **told, "object": obj, "oldObject": old}
    return {"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": request}


def verify(answer: Object, uid: str, version: str, *, mutating: bool) -> Object:
    """The response in an answer. Raises InvalidAnswer."""
    group, _, got = str(answer.get("apiVersion", "")).rpartition("/")
    if (group, got, answer.get("kind")) != (GROUP, version, "AdmissionReview"):
        raise InvalidAnswer(
            f"expected webhook response of {GROUP}/{version}, Kind=AdmissionReview, "
            f"got {answer.get('apiVersion', '')}, Kind={answer.get('kind', '')}"
        )
    response = answer.get("response")
    if not isinstance(response, dict):
        raise InvalidAnswer("webhook response was absent")
    if version == "v1":
        if response.get("uid") != uid:
            raise InvalidAnswer(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
        _verify_patch(response, mutating=mutating)
    return response


def _verify_patch(response: Object, *, mutating: bool) -> None:
    patch, form = response.get("patch"), response.get("patchType")
    if not mutating:
        for field, value in (("patch", patch), ("patchType", form)):
            if value is not None and value != "":
                raise InvalidAnswer(f"validating webhook may not return response.{field}")
    elif patch and form is None:
        raise InvalidAnswer("webhook returned response.patch but not response.patchType")
    elif form is not None and not patch:
        raise InvalidAnswer("webhook returned response.patchType but not response.patch")
    elif patch and form != "JSONPatch":
        raise InvalidAnswer(f'webhook returned invalid response.patchType of "{form}"')


def patch_of(response: Object) -> list[Object]:
    """The operations of a JSON patch; none if there is no patch. Raises InvalidAnswer."""
    if not response.get("patch"):
        return []
    try:
        operations = orjson.loads(base64.b64decode(response["patch"], validate=True))
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidAnswer(f"received undecodable patch in webhook response: {error}") from error
    if not isinstance(operations, list):
        raise InvalidAnswer("received undecodable patch in webhook response: it is no list of operations")
    return operations


def denial(name: str, response: Object) -> ApiError:
    """The error of a request that the webhook ``name`` does not allow."""
    status: Object = dict(response.get("status") or {})
    why = status.get("message") or status.get("reason")
    message = f'admission webhook "{name}" denied the request'
    status["message"] = f"{message}: {why}" if why else f"{message} without explanation"
    status["code"] = max(int(status.get("code") or 0), errors.BadRequest.code)
    return errors.from_status(status)
