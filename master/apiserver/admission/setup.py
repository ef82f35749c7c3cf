"""The plugins of this API server, in upstream's order. A new plugin is its file and a line here."""

import time
from collections.abc import Sequence

from ..auth.authorizer import Authorizer
from ..auth.rbac import RbacAuthorizer
from ..outgoing.client import WebhookClient
from ..registry.reader import Reader
from .chain import Chain, Plugin
from .forms import Forms
from .plugins.certificates import CertificateDecisions, CertificateRequester, CertificateSubjectRestriction
from .plugins.default_class import DefaultIngressClass, DefaultStorageClass
from .plugins.limit_ranger import LimitRanger
from .plugins.namespace_lifecycle import NamespaceLifecycle
from .plugins.node_restriction import NodeRestriction
from .plugins.not_enforced import NotEnforced
from .plugins.pod_security import PodSecurity
from .plugins.priority import Priority
from .plugins.rbac_escalation import RbacEscalation
from .plugins.resource_quota import ResourceQuota
from .plugins.runtime_class import RuntimeClass
from .plugins.service_account import ServiceAccount
from .plugins.storage_protection import PersistentVolumeClaimResize, StorageObjectInUseProtection
from .plugins.tolerations import DefaultTolerationSeconds, TaintNodesByCondition
from .policies.mutating import MutatingPolicies
from .policies.validating import ValidatingPolicies
from .webhooks.plugins import MutatingWebhooks, ValidatingWebhooks


def extensions(reader: Reader, forms: Forms, client: WebhookClient, authorizer: Authorizer) -> tuple[Plugin, ...]:
    """What users configure, in upstream's order: policies before webhooks."""
    return (
        MutatingPolicies(reader, forms, authorizer),
        MutatingWebhooks(reader, forms, client, authorizer),
        ValidatingPolicies(reader, forms, authorizer),
        ValidatingWebhooks(reader, forms, client, authorizer),
    )


def build(
    reader: Reader,
    authorizer: Authorizer,
    rbac: RbacAuthorizer,
    configured: Sequence[Plugin] = (),
    token_secrets: Sequence[Plugin] = (),
) -> Chain:
    return Chain(
        (
            NamespaceLifecycle(reader),
            LimitRanger(reader),
            ServiceAccount(reader),
            *token_secrets,
            NodeRestriction(reader),
            TaintNodesByCondition(),
            PodSecurity(reader),
            Priority(reader),
            DefaultTolerationSeconds(),
            DefaultStorageClass(reader),
            StorageObjectInUseProtection(),
            PersistentVolumeClaimResize(reader),
            RuntimeClass(reader),
            CertificateRequester(),
            CertificateDecisions(authorizer),
            CertificateSubjectRestriction(),
            DefaultIngressClass(reader),
            RbacEscalation(reader, authorizer, rbac),
            NotEnforced(),
            *configured,
            # Last: nothing may be charged for what another plugin refuses.
            ResourceQuota(reader, time.monotonic),
        )
    )
