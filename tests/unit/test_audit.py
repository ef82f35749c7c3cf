"""The audit policy's rules, what events hold, and sinks that never hold anybody up."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from apimachinery.errors import Forbidden
from master.apiserver.audit.policy import Level, Policy
from master.apiserver.audit.records import Auditor, Event, Origin
from master.apiserver.audit.sinks import LogSink
from master.apiserver.auth.authorizer import Decision, RequestAttributes
from master.apiserver.auth.user import User

Object = dict[str, Any]
ALICE = User("alice", groups=("developers", "system:authenticated"))


def policy(*rules: Object, **more: Any) -> Policy:
    return Policy({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more})


def about(verb: str = "get", resource: str = "pods", name: str = "", path: str = "", **rest: str) -> RequestAttributes:
    return RequestAttributes(
        ALICE, verb, rest.get("group", ""), "v1", resource, rest.get("sub", ""), "default", name, path
    )


@pytest.mark.parametrize(
    ("rule", "request_", "matches"),
    [
        ({}, about(), True),
        ({"users": ["bob"]}, about(), False),
        ({"userGroups": ["developers"]}, about(), True),
        ({"verbs": ["create"]}, about(), False),
        ({"namespaces": ["default"]}, about(), True),
        ({"namespaces": ["default"]}, about(resource="", path="/healthz"), False),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, about(), True),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, about(sub="log"), False),
        ({"resources": [{"group": "", "resources": ["pods/log"]}]}, about(sub="log"), True),
        ({"resources": [{"group": "", "resources": ["*/log"]}]}, about(sub="log"), True),
        ({"resources": [{"group": "", "resources": ["pods/*"]}]}, about(sub="log"), True),
        ({"resources": [{"group": "", "resources": ["*"]}]}, about(sub="log"), True),
        ({"resources": [{"group": "apps"}]}, about(), False),
        ({"resources": [{"group": "apps"}]}, about(group="apps"), True),
        ({"resources": [{"group": "", "resourceNames": ["a"]}]}, about(name="b"), False),
        ({"nonResourceURLs": ["/healthz*"]}, about(resource="", path="/healthz/ping"), True),
        ({"nonResourceURLs": ["/healthz"]}, about(), False),
    ],
)  # fmt: skip
def test_rules(rule: Object, request_: RequestAttributes, matches: bool) -> None:
    assert bool(policy({"level": "Metadata", **rule}).verdict(request_).level) is matches


def test_the_first_rule_decides_and_stages_add_up() -> None:
    made = policy(
        {"level": "None", "verbs": ["watch"]},
        {"level": "Request", "omitStages": ["Panic"]},
        omitStages=["RequestReceived"],
    )
    assert made.verdict(about("watch")).level is Level.none
    assert made.verdict(about()).omitted == {"RequestReceived", "Panic"}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"apiVersion": "audit.k8s.io/v1beta1", "kind": "Policy", "rules": [{"level": "None"}]},
        {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": []},
        {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Everything"}]},
        {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "None", "user": ["x"]}]},
        {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "None", "omitStages": ["Later"]}]},
    ],
)
def test_what_is_no_policy_is_refused(document: Object) -> None:
    with pytest.raises(ValueError):
        Policy(document)


class Rules:
    def authorize(self, a: RequestAttributes) -> Decision:
        return Decision(a.verb != "delete", "because")


def recorded(
    level: str, verb: str, sent: bytes, response: bytes, error: Forbidden | None = None, **more: Any
) -> list[Object]:
    events: list[Event] = []
    auditor = Auditor(policy({"level": level, **more}), Rules(), events.append)
    origin = Origin("id", "/api/v1/x", ("10.0.0.1",), "kubectl", User("admin"))
    record = auditor.begin(about(verb), lambda: origin)
    assert record
    record.sent = sent
    record.annotations = {"mine": "too"}
    record.complete(error.status_code if error else 201, error, response)
    return [orjson.loads(event.finished()) for event in events]


def test_events_tell_who_what_and_how_it_ended() -> None:
    sent = {"metadata": {"name": "x", "managedFields": [1]}}
    received, complete = recorded(
        "RequestResponse", "create", orjson.dumps(sent), b'{"kind":"Pod"}', omitManagedFields=True
    )
    assert received["stage"] == "RequestReceived"
    assert "requestObject" not in received
    assert complete["user"]["username"] == "admin"
    assert complete["impersonatedUser"]["username"] == "alice"
    assert complete["objectRef"] == {"resource": "pods", "namespace": "default", "name": "x", "apiVersion": "v1"}
    assert complete["requestObject"] == {"metadata": {"name": "x"}}
    assert complete["responseObject"] == {"kind": "Pod"}
    assert complete["responseStatus"] == {"metadata": {}, "code": 201}
    assert complete["annotations"] == {
        "authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "because", "mine": "too",
    }  # fmt: skip


def test_metadata_has_no_bodies_and_a_refusal_its_reason() -> None:
    _, complete = recorded("Metadata", "delete", b'{"a":1}', b"{}", Forbidden("no"))
    assert not {"requestObject", "responseObject"} & complete.keys()
    assert complete["responseStatus"]["reason"] == "Forbidden"
    assert complete["annotations"]["authorization.k8s.io/decision"] == "forbid"


def event(number: int) -> Event:
    return Event({"number": number}, policy({"level": "Metadata"}).verdict(about()))


def test_a_log_is_rotated_and_old_ones_go(tmp_path: Path) -> None:
    sink = LogSink(str(tmp_path / "audit.log"), max_backup=2)
    sink._max_bytes = 200
    for number in range(60):
        sink.deliver([orjson.dumps({"number": number, "text": "x" * 50})])
    sink.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    assert all(f.stat().st_size <= 200 and f.stat().st_mode & 0o77 == 0 for f in files)


def test_a_log_that_somebody_moved_away_is_begun_again(tmp_path: Path) -> None:
    sink = LogSink(str(tmp_path / "audit.log"))
    sink.deliver([b"1"])
    (tmp_path / "audit.log").rename(tmp_path / "mine.log")
    sink.deliver([b"2"])
    sink.close()
    assert (tmp_path / "mine.log").read_bytes() == b"1\n"
    assert (tmp_path / "audit.log").read_bytes() == b"2\n"


def test_a_sink_that_hangs_or_fails_loses_events_and_holds_nobody_up() -> None:
    """/dev/full is a disk that is full."""
    sink = LogSink("/dev/full")
    for number in range(15_000):
        sink.emit(event(number))
    sink.close()
    assert not sink._queue
