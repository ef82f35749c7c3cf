"""What admission counts, under upstream's names.

Buckets as upstream's: a webhook on loopback answers in milliseconds, a slow one until its timeout.
Source: ``k8s.io/apiserver/pkg/admission/metrics``, ``.../plugin/policy/validating/metrics``.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram

from apimachinery.errors import ApiError

from .chain import AdmissionRequest

_SECONDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0)
_ABOUT = ("name", "type", "operation")

_durations = Histogram(
    "apiserver_admission_webhook_admission_duration_seconds",
    "Time until a webhook has answered.",
    (*_ABOUT, "rejected"),
    buckets=_SECONDS,
)
_requests = Counter("apiserver_admission_webhook_request", "Questions to webhooks.", (*_ABOUT, "code", "rejected"))
# Upstream's counters whose names do not end in "_total", which the library would add to a counter's.
_rejections = Gauge(
    "apiserver_admission_webhook_rejection_count",
    "Requests that a webhook refused, or could not be asked about.",
    (*_ABOUT, "error_type", "rejection_code"),
)
_fail_open = Gauge("apiserver_admission_webhook_fail_open_count", "Failures of webhooks ignored.", ("name", "type"))
_POLICY = ("policy", "policy_binding", "error_type", "enforcement_action")
_policies = Counter("apiserver_validating_admission_policy_check", "Checks of validating policies.", _POLICY)
_policy_durations = Histogram(
    "apiserver_validating_admission_policy_check_duration_seconds",
    "Time to evaluate a validating policy for one of its bindings.",
    _POLICY,
    buckets=(0.0000005, 0.001, 0.01, 0.1, 1.0),
)


@contextmanager
def asked(request: AdmissionRequest, name: str, form: str) -> Iterator[None]:
    """Around a question to a webhook; ``form`` is ``admit`` or ``validating``. ApiError is a refusal, other errors are
    failures."""
    began, about = time.monotonic(), (name, form, request.operation)
    rejected, code, error = "false", 200, ""
    try:
        yield
    except ApiError as refusal:
        rejected, code = "true", refusal.status_code
        raise
    except Exception:
        rejected, code, error = "true", 0, "calling_webhook_error"
        raise
    finally:
        _durations.labels(*about, rejected).observe(time.monotonic() - began)
        _requests.labels(*about, str(code or 500), rejected).inc()
        if rejected == "true":
            _rejections.labels(*about, error or "no_error", str(code)).inc()


def failed_open(name: str, form: str) -> None:
    """A webhook's failure was ignored."""
    _fail_open.labels(name, form).inc()


def policy_checked(policy: str, binding: str, action: str, seconds: float) -> None:
    """A validating policy was evaluated; ``action`` is what came of it: ``allow``, ``deny``, ``warn`` or ``audit``."""
    _policies.labels(policy, binding, "no_error", action).inc()
    _policy_durations.labels(policy, binding, "no_error", action).observe(seconds)
