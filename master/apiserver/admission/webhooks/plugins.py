"""The two plugins that ask webhooks: one after the other to change an object, all at once to judge it.

An answer that does not come is a refusal (500), or nothing, by the webhook's ``failurePolicy``. What the API server
itself writes is not submitted: a broken webhook must not keep it from starting.
"""

import asyncio
from typing import Any

import orjson

from apimachinery import patch, scheme
from apimachinery.cel.spending import spend
from apimachinery.errors import ApiError, BadRequest, Cause, InternalError
from apimachinery.logging import get_logger

from ...auth.authorizer import Authorizer
from ...auth.user import LOOPBACK
from ...identifiers import new_uid
from ...outgoing.client import CallFailed, WebhookClient
from ...registry.reader import Reader
from .. import metrics
from ..chain import AdmissionRequest, Plugin
from ..expressions import MATCH_BUDGET, ConditionsFailed, conditions_hold, values
from ..forms import Forms
from ..matching import EXEMPT_GROUP
from ..refusal import forbidden
from ..reinvocation import Reinvocations
from ..requests import request_json
from . import review
from .source import Candidate, Source, Webhook

Object = dict[str, Any]
_log = get_logger(__name__)
_NO_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_DEFAULT_SECONDS = 10


class WebhookFailed(Exception):
    """No answer, or none that can be used."""


class _Webhooks(Plugin):
    mutating: bool
    resource: str
    form: str
    """How metrics name it."""

    def __init__(self, reader: Reader, forms: Forms, client: WebhookClient, authorizer: Authorizer) -> None:
        self._reader, self._forms, self._client, self._authorizer = reader, forms, client, authorizer
        self._source = Source(reader, forms, scheme.kind_of(self.resource, EXEMPT_GROUP))

    def handles(self, request: AdmissionRequest) -> bool:
        return request.user is not LOOPBACK and bool(self._source.candidates(request))

    async def _concerns(self, request: AdmissionRequest, candidate: Candidate) -> bool:
        """Whether a webhook whose rules match is to be asked. Raises ApiError."""
        webhook = candidate.webhook
        if not await webhook.selectors.match(self._reader, request):
            return False
        conditions = webhook.hook.get("matchConditions")
        if not conditions:
            return True
        try:
            scope = await values(request, candidate.kind, self._forms, self._authorizer)
            return await spend(lambda budget: conditions_hold(conditions, scope, budget=budget), MATCH_BUDGET)
        except ConditionsFailed as error:
            if webhook.fails_open:
                return False
            raise forbidden(request, str(error)) from error

    async def _ask(self, request: AdmissionRequest, candidate: Candidate) -> Object:
        """The response of a webhook that allows the request. Raises ApiError, WebhookFailed."""
        with metrics.asked(request, candidate.webhook.name, self.form):
            return await self._answer(request, candidate)

    async def _answer(self, request: AdmissionRequest, candidate: Candidate) -> Object:
        hook, kind = candidate.webhook.hook, candidate.kind
        name = candidate.webhook.name
        if request.dry_run and hook.get("sideEffects") not in _NO_SIDE_EFFECTS:
            raise BadRequest(f'admission webhook "{name}" does not support dry run')
        uid = new_uid()
        version = next(v for v in hook["admissionReviewVersions"] if v in review.VERSIONS)
        obj, old = [await self._forms.shown(request, o, kind) for o in (request.object, request.old)]
        question = review.build(request_json(request, kind), uid, version, obj, old)
        try:
            answer = await self._client.call(
                hook["clientConfig"], question, hook.get("timeoutSeconds") or _DEFAULT_SECONDS
            )
            response = review.verify(answer, uid, version, mutating=self.mutating)
        except CallFailed as error:
            raise WebhookFailed(f'failed calling webhook "{name}": failed to call webhook: {error}') from error
        except review.InvalidAnswer as error:
            raise WebhookFailed(
                f'failed calling webhook "{name}": received invalid webhook response: {error}'
            ) from error
        for key, value in (response.get("auditAnnotations") or {}).items():
            request.annotations[f"{name}/{key}"] = str(value)
        request.warnings.extend(map(str, response.get("warnings") or ()))
        if not response.get("allowed"):
            raise review.denial(name, response)
        return response

    def _fail(self, request: AdmissionRequest, webhook: Webhook, error: WebhookFailed) -> None:
        """Raises InternalError, unless the webhook's failure is to be ignored."""
        if not webhook.fails_open:
            message = str(error)
            raise InternalError(f"Internal error occurred: {message}", causes=[Cause("", message)]) from error
        metrics.failed_open(webhook.name, self.form)
        _log.warning("Failed calling webhook, failing open", webhook=webhook.name, error=str(error))
        key = _annotation("mutation" if self.mutating else "validating", request, webhook)
        request.annotations[f"failed-open.{key}"] = webhook.name


class ValidatingWebhooks(_Webhooks):
    name = "ValidatingAdmissionWebhook"
    mutating, resource, form = False, "validatingwebhookconfigurations", "validating"

    async def validate(self, request: AdmissionRequest) -> None:
        asked = [c for c in self._source.candidates(request) if await self._concerns(request, c)]
        if len(asked) == 1:
            await self._judge(request, asked[0])
            return
        outcomes = await asyncio.gather(*(self._judge(request, c) for c in asked), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _judge(self, request: AdmissionRequest, candidate: Candidate) -> None:
        try:
            await self._ask(request, candidate)
        except WebhookFailed as error:
            self._fail(request, candidate.webhook, error)


class MutatingWebhooks(_Webhooks):
    name = "MutatingAdmissionWebhook"
    mutating, resource, form = True, "mutatingwebhookconfigurations", "admit"

    async def mutate(self, request: AdmissionRequest) -> None:
        again = request.kept.setdefault(self.name, Reinvocations())
        if request.second_round and request.object != again.output:
            again.all_of_before()
        for candidate in self._source.candidates(request):
            webhook = candidate.webhook
            key = (webhook.configuration, webhook.name)
            if request.second_round and key not in again.wanted:
                continue
            if not await self._concerns(request, candidate):
                continue
            if await self._change(request, candidate):
                again.all_of_before()
            if webhook.hook.get("reinvocationPolicy") == "IfNeeded":
                again.before.add(key)
        again.output = patch.copy(request.object)

    async def _change(self, request: AdmissionRequest, candidate: Candidate) -> bool:
        """Whether the webhook has changed the object. Raises ApiError."""
        webhook = candidate.webhook
        operations: list[Object] = []
        changed = False
        try:
            response = await self._ask(request, candidate)
            try:
                operations = review.patch_of(response)
            except review.InvalidAnswer as error:
                raise WebhookFailed(f'failed calling webhook "{webhook.name}": {error}') from error
            changed = bool(operations) and await self._apply(request, candidate, operations)
        except WebhookFailed as error:
            self._fail(request, webhook, error)
        finally:
            self._annotate(request, webhook, operations, changed)
        return changed

    async def _apply(self, request: AdmissionRequest, candidate: Candidate, operations: list[Object]) -> bool:
        name, kind = candidate.webhook.name, candidate.kind
        before = await self._forms.shown(request, request.object, kind)
        if before is None:
            why = (
                f'admission webhook "{name}" attempted to modify the object, which is not supported for this operation'
            )
            raise InternalError(f"Internal error occurred: {why}", causes=[Cause("", why)])
        try:
            after = patch.json_patch(before, operations)
        except ApiError as error:
            raise InternalError(
                f"Internal error occurred: {error.causes[0].message if error.causes else error}"
            ) from error
        if after == before:
            return False
        await self._forms.take(request, kind, after)
        return True

    @staticmethod
    def _annotate(request: AdmissionRequest, webhook: Webhook, operations: list[Object], changed: bool) -> None:
        about = {"configuration": webhook.configuration, "webhook": webhook.name}
        told = orjson.dumps({**about, "mutated": changed}).decode()
        request.annotations[_annotation("mutation", request, webhook)] = told
        if operations:
            told = orjson.dumps({**about, "patch": operations, "patchType": "JSONPatch"}).decode()
            request.annotations[_annotation("patch", request, webhook)] = told


def _annotation(sort: str, request: AdmissionRequest, webhook: Webhook) -> str:
    return f"{sort}.webhook.admission.k8s.io/round_{int(request.second_round)}_index_{webhook.index}"
