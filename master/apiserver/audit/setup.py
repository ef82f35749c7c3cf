"""Puts the audit log together from the API server's flags."""

from apimachinery.config import load_kubeconfig
from apimachinery.logging import get_logger

from ..auth.authorizer import Authorizer
from ..settings import AuditSettings
from .policy import Policy
from .records import Auditor
from .sinks import LogSink, Sink, Sinks, WebhookSink

_log = get_logger(__name__)


def build(settings: AuditSettings, authorizer: Authorizer) -> tuple[Auditor | None, Sinks]:
    """No auditor without a policy, or without anywhere to write to. Raises OSError, ValueError, ConfigError."""
    wanted = bool(settings.log_path or settings.webhook_config_file)
    if not settings.policy_file or not wanted:
        if wanted:
            _log.warning("No --audit-policy-file: nothing is recorded in the audit log")
        return None, Sinks(())
    policy = Policy.load(settings.policy_file)
    made: list[Sink] = []
    if settings.log_path:
        made.append(
            LogSink(settings.log_path, settings.log_maxsize, settings.log_maxage, settings.log_maxbackup),
        )
    if settings.webhook_config_file:
        access = load_kubeconfig(settings.webhook_config_file)
        batch, wait = settings.webhook_batch_size, settings.webhook_batch_wait
        made.append(WebhookSink(access, batch, wait, settings.webhook_backoff))
    sinks = Sinks(made)
    return Auditor(policy, authorizer, sinks.emit), sinks
