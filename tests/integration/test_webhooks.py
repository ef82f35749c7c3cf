"""Admission webhooks as upstream's conformance tests see them: a real API server, the webhook in this process."""

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.control_plane import USER_TOKEN, ApiServerProgram
from tests.fakes.webhook import Object, WebhookServer, allow, deny, own_address, patch
from tests.waiting import eventually

REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
CREATE_CONFIGMAPS = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}


class Hooks:
    """Registers webhooks for one namespace, and waits until they are in effect."""

    def __init__(self, api: ApiServerProgram, namespace: str, server: WebhookServer) -> None:
        self.api, self.namespace, self.server = api, namespace, server
        self.made: list[str] = []

    def register(self, kind: str, *webhooks: Object, name: str = "test") -> None:
        """``kind`` is Validating or Mutating. A marker's denial shows that the configuration is in effect."""
        resource = f"{kind.lower()}webhookconfigurations"
        marker = {
            "name": "marker.example.com",
            "clientConfig": self.server.config("/marker", deny("marker")),
            "rules": [CREATE_CONFIGMAPS | {"resources": ["*"]}],
            "objectSelector": {"matchLabels": {"marker": name}},
        }
        body = {"metadata": {"name": name}, "webhooks": [self.webhook(**w) for w in (marker, *webhooks)]}
        reply = self.api.request("POST", f"{REGISTRATION}/{resource}", body)
        assert reply.code == 201, reply.text
        self.made.append(f"{REGISTRATION}/{resource}/{name}")
        marked = {"metadata": {"name": "marker", "labels": {"marker": name}}, "data": {"missing": ""}}
        eventually(lambda: "marker.example.com" in self.api.request("POST", f"{self.path}?dryRun=All", marked).text)
        self.server.asked.clear()
        self.server.paths.clear()

    def webhook(self, **fields: Any) -> Object:
        selector = {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}}
        made = {"sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [CREATE_CONFIGMAPS]}
        return made | {"namespaceSelector": selector, "name": "a.example.com"} | fields

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/configmaps"

    def create(self, name: str = "x", **rest: Any) -> Any:
        return self.api.request("POST", self.path, {"metadata": {"name": name}, **rest})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebhookServer]:
    running = WebhookServer(tmp_path_factory.mktemp("webhook"))
    yield running
    running.close()


@pytest.fixture
def hooks(apiserver: ApiServerProgram, namespace: str, server: WebhookServer) -> Iterator[Hooks]:
    made = Hooks(apiserver, namespace, server)
    yield made
    for path in made.made:
        apiserver.request("DELETE", path)


def test_a_denial_is_passed_on(hooks: Hooks) -> None:
    answer = deny("the configmap contains unwanted key and value", code=403, reason="Forbidden")
    hooks.register("Validating", {"clientConfig": hooks.server.config("/deny", answer)})
    refused = hooks.create()
    assert refused.code == 403 and refused.json["reason"] == "Forbidden"
    why = 'admission webhook "a.example.com" denied the request: the configmap contains unwanted key and value'
    assert refused.json["message"] == why
    with pytest.raises(AssertionError, match=why):
        hooks.api.kubectl("create", "configmap", "y", "-n", hooks.namespace)
    hooks.server.answers["/deny"] = lambda request: {"allowed": False}
    refused = hooks.create()
    assert (refused.code, refused.json["message"]) == (
        400,
        'admission webhook "a.example.com" denied the request without explanation',
    )


def test_what_a_review_says(hooks: Hooks) -> None:
    every = CREATE_CONFIGMAPS | {"operations": ["CREATE", "UPDATE", "DELETE"]}
    hooks.register("Validating", {"clientConfig": hooks.server.config("/see"), "rules": [every]})
    assert hooks.create(data={"a": "b"}).code == 201
    (seen,) = hooks.server.asked
    assert hooks.server.paths == ["/see?timeout=10s"]
    assert seen["kind"] == seen["requestKind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert seen["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (seen["name"], seen["namespace"], seen["operation"]) == ("x", hooks.namespace, "CREATE")
    assert seen["object"]["data"] == {"a": "b"} and seen["oldObject"] is None and seen["dryRun"] is False
    assert seen["options"]["kind"] == "CreateOptions" and seen["options"]["fieldManager"]
    assert seen["userInfo"]["username"] == "admin" and "system:masters" in seen["userInfo"]["groups"]
    for media in ("merge-patch", "strategic-merge-patch"):
        headers = {"Content-Type": f"application/{media}+json"}
        body = {"data": {"by": media}}
        assert hooks.api.request("PATCH", f"{hooks.path}/x?dryRun=All", body, headers=headers).code == 200
        seen = hooks.server.asked[-1]
        assert (seen["operation"], seen["dryRun"], seen["object"]["data"]["by"]) == ("UPDATE", True, media)
        assert "by" not in seen["oldObject"]["data"]
    assert hooks.api.request("DELETE", f"{hooks.path}/x?gracePeriodSeconds=7").code == 200
    seen = hooks.server.asked[-1]
    assert (seen["operation"], seen["object"], seen["oldObject"]["data"]) == ("DELETE", None, {"a": "b"})
    assert seen["options"] == {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "gracePeriodSeconds": 7}


def test_an_update_and_a_deletion_can_be_denied(hooks: Hooks) -> None:
    hooks.create(data={"a": "b"})
    changes = CREATE_CONFIGMAPS | {"operations": ["UPDATE", "DELETE"]}
    hooks.register("Validating", {"clientConfig": hooks.server.config("/deny", deny("no")), "rules": [changes]})
    assert "denied the request: no" in hooks.api.request("PUT", f"{hooks.path}/x", {"data": {"c": "d"}}).text
    assert "denied the request: no" in hooks.api.request("DELETE", f"{hooks.path}/x").text
    assert "denied the request: no" in hooks.api.request("DELETE", hooks.path).text
    assert hooks.api.request("GET", f"{hooks.path}/x").json["data"] == {"a": "b"}


def test_mutations_add_up_in_order(hooks: Hooks) -> None:
    first = patch({"op": "add", "path": "/data/mutation-stage-1", "value": "yes"})

    def second(request: Object) -> Object:
        assert request["object"]["data"]["mutation-stage-1"] == "yes"
        return patch({"op": "add", "path": "/data/mutation-stage-2", "value": "yes"})(request)

    hooks.register("Mutating", {"clientConfig": hooks.server.config("/second", second)}, name="test-b")
    hooks.register("Mutating", {"clientConfig": hooks.server.config("/first", first)}, name="test-a")
    made = hooks.create(data={"mutation-start": "yes"}).json
    assert made["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}
    stored = hooks.api.request("GET", f"{hooks.path}/x").json
    assert stored == made


def test_what_a_webhook_adds_to_a_pod_gets_its_defaults(hooks: Hooks) -> None:
    added = [{"name": "webhook-added-init-container", "image": "webhook-added-image"}]
    answer = patch({"op": "add", "path": "/spec/initContainers", "value": added})
    rules = [CREATE_CONFIGMAPS | {"resources": ["pods"]}]
    hooks.register("Mutating", {"clientConfig": hooks.server.config("/pods", answer), "rules": rules})
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    made = hooks.api.request("POST", f"/api/v1/namespaces/{hooks.namespace}/pods", pod).json
    (init,) = made["spec"]["initContainers"]
    assert init["name"] == "webhook-added-init-container"
    assert (init["terminationMessagePolicy"], init["imagePullPolicy"]) == ("File", "Always")
    assert [m["mountPath"] for m in init["volumeMounts"]] == ["/var/run/secrets/kubernetes.io/serviceaccount"]
    assert hooks.api.request("DELETE", f"/api/v1/namespaces/{hooks.namespace}/pods/p?gracePeriodSeconds=0").code == 200


def test_a_patch_must_make_a_valid_object(hooks: Hooks) -> None:
    config = hooks.server.config("/bad", patch({"op": "add", "path": "/data", "value": {"a/b": "invalid key"}}))
    hooks.register("Mutating", {"clientConfig": config})
    assert hooks.create().code == 422
    hooks.server.answers["/bad"] = patch({"op": "add", "path": "/data", "value": "no map"})
    assert (hooks.create().code, hooks.create().json["reason"]) == (500, "InternalError")
    hooks.server.answers["/bad"] = patch({"op": "add", "path": "/metadata/uid", "value": "mine"})
    assert hooks.create().json["metadata"]["uid"] != "mine"
    hooks.server.answers["/bad"] = lambda r: {"allowed": True, "patch": "bm90IGpzb24=", "patchType": "JSONPatch"}
    assert "received undecodable patch in webhook response" in hooks.create("y").json["message"]


def test_failing_closed_and_open(hooks: Hooks) -> None:
    gone = {"service": {"namespace": "hooks", "name": "no-such-service"}, "caBundle": hooks.server.ca_bundle}
    hooks.register("Validating", {"clientConfig": gone, "failurePolicy": "Ignore"})
    assert hooks.create().code == 201
    hooks.register("Validating", {"clientConfig": gone, "failurePolicy": "Fail"}, name="test-closed")
    refused = hooks.create("y")
    assert (refused.code, refused.json["reason"]) == (500, "InternalError")
    assert refused.json["message"] == (
        'Internal error occurred: failed calling webhook "a.example.com": failed to call webhook: '
        'Post "https://no-such-service.hooks.svc:443/?timeout=10s": services "no-such-service" not found'
    )


def test_what_webhooks_did_is_counted(hooks: Hooks) -> None:
    hooks.register("Validating", {"clientConfig": hooks.server.config("/counted", deny("no")), "name": "c.example.com"})
    assert hooks.create().code == 400
    counted = hooks.api.request("GET", "/metrics").text
    about = 'name="c.example.com",operation="CREATE"'
    prefix = "apiserver_admission_webhook"
    for line in (
        f'{prefix}_admission_duration_seconds_count{{{about},rejected="true",type="validating"}} ',
        f'{prefix}_request_total{{code="400",{about},rejected="true",type="validating"}} ',
        f'{prefix}_rejection_count{{error_type="no_error",{about},rejection_code="400",type="validating"}} ',
    ):
        assert line in counted


def test_a_hung_webhook(hooks: Hooks) -> None:
    def slow(request: Object) -> Object:
        time.sleep(1.5)
        return allow(request)

    hooks.register(
        "Validating", {"clientConfig": hooks.server.config("/always-allow-delay-5s", slow), "timeoutSeconds": 1}
    )
    refused = hooks.create()
    assert refused.code == 500 and "context deadline exceeded" in refused.json["message"]
    assert '/always-allow-delay-5s?timeout=1s"' in refused.json["message"]


def test_dry_run_needs_a_webhook_without_side_effects(hooks: Hooks) -> None:
    hooks.register("Validating", {"clientConfig": hooks.server.config("/see"), "sideEffects": "NoneOnDryRun"})
    assert hooks.api.request("POST", f"{hooks.path}?dryRun=All", {"metadata": {"name": "x"}}).code == 201
    assert hooks.server.asked[-1]["dryRun"] is True and hooks.server.asked[-1]["options"]["dryRun"] == ["All"]


def test_selectors_and_exact_rules(hooks: Hooks) -> None:
    config = hooks.server.config("/deny", deny("no"))
    hooks.register(
        "Validating",
        {"clientConfig": config, "objectSelector": {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]}},
    )
    assert hooks.create().code == 400
    skipped = {"metadata": {"name": "x", "labels": {"skip": "yes"}}}
    assert hooks.api.request("POST", hooks.path, skipped).code == 201
    assert (
        hooks.api.request("POST", "/api/v1/namespaces/default/configmaps?dryRun=All", {"metadata": {"name": "x"}}).code
        == 201
    )


def test_an_equivalent_version_is_converted(hooks: Hooks) -> None:
    def bounded(request: Object) -> Object:
        assert request["object"]["apiVersion"] == "autoscaling/v1"
        return patch({"op": "replace", "path": "/spec/maxReplicas", "value": 3})(request)

    rule = {"operations": ["CREATE"], "apiGroups": ["autoscaling"], "apiVersions": ["v1"], "resources": ["*"]}
    hooks.register("Mutating", {"clientConfig": hooks.server.config("/hpa", bounded), "rules": [rule]})
    made = {
        "metadata": {"name": "h"},
        "spec": {"maxReplicas": 9, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}},
    }
    path = f"/namespaces/{hooks.namespace}/horizontalpodautoscalers"
    stored = hooks.api.request("POST", "/apis/autoscaling/v2" + path, made).json
    assert (stored["apiVersion"], stored["spec"]["maxReplicas"]) == ("autoscaling/v2", 3)
    seen = hooks.server.asked[-1]
    assert seen["requestKind"]["version"] == "v2" and seen["kind"]["version"] == "v1"
    hooks.register(
        "Mutating",
        {"clientConfig": hooks.server.config("/exact", deny("no")), "rules": [rule], "matchPolicy": "Exact"},
        name="test-exact",
    )
    made["metadata"]["name"] = "other"
    assert hooks.api.request("POST", "/apis/autoscaling/v2" + path, made).code == 201


def test_reinvocation(hooks: Hooks) -> None:
    """Who asks for it is asked once more after somebody else has changed the object."""
    again = {"clientConfig": hooks.server.config("/again"), "reinvocationPolicy": "IfNeeded", "name": "b.example.com"}
    once = {"clientConfig": hooks.server.config("/once"), "name": "c.example.com"}
    change = patch({"op": "add", "path": "/data", "value": {"a": "b"}})
    changing = {"clientConfig": hooks.server.config("/change", change), "name": "d.example.com"}
    hooks.register("Mutating", again, once, changing)
    assert hooks.create().code == 201
    assert [p.partition("?")[0] for p in hooks.server.paths] == ["/again", "/once", "/change", "/again"]
    assert hooks.server.asked[-1]["object"]["data"] == {"a": "b"}


def test_match_conditions(hooks: Hooks) -> None:
    conditions = [
        {"name": "not-leases", "expression": "request.resource.group != 'coordination.k8s.io'"},
        {"name": "named-deny", "expression": "object.metadata.name.startsWith('deny')"},
        {"name": "may-not", "expression": "!authorizer.requestResource.check('no-such-verb').allowed() || true"},
    ]
    config = hooks.server.config("/deny", deny("no"))
    hooks.register("Validating", {"clientConfig": config, "matchConditions": conditions})
    assert hooks.create("deny-me").code == 400
    assert hooks.create("allow-me").code == 201
    broken = [{"name": "broken", "expression": "object.data.missing == 'x'"}]
    hooks.register("Validating", {"clientConfig": config, "matchConditions": broken}, name="test-broken")
    refused = hooks.create("allow-me-too", data={"a": "b"})
    why = "expression 'object.data.missing == 'x'' resulted in error: no such key: missing"
    assert (refused.code, refused.json["message"]) == (403, f'configmaps "allow-me-too" is forbidden: {why}')
    ignoring = {"clientConfig": config, "matchConditions": broken, "failurePolicy": "Ignore"}
    hooks.api.request("DELETE", hooks.made.pop())
    hooks.register("Validating", ignoring, name="test-ignored")
    assert hooks.create("allow-me-too", data={}).code == 201


def test_warnings(hooks: Hooks) -> None:
    hooks.register(
        "Validating", {"clientConfig": hooks.server.config("/warn", lambda r: {"allowed": True, "warnings": ["mind"]})}
    )
    assert hooks.create().headers["warning"] == '299 - "mind"'


def test_by_service_over_one_kept_connection(hooks: Hooks) -> None:
    api = hooks.api
    api.request("POST", "/api/v1/namespaces", {"metadata": {"name": "hooks"}})
    spec = {"ports": [{"port": 8443, "targetPort": 1}]}
    api.request("POST", "/api/v1/namespaces/hooks/services", {"metadata": {"name": "hook"}, "spec": spec})
    piece = {
        "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [own_address()]}],
        "ports": [{"port": hooks.server.port}],
    }
    assert api.request("POST", "/apis/discovery.k8s.io/v1/namespaces/hooks/endpointslices", piece).code == 201
    hooks.server.answers["/by/service"] = allow
    service = {"namespace": "hooks", "name": "hook", "path": "/by/service", "port": 8443}
    hooks.register("Validating", {"clientConfig": {"service": service, "caBundle": hooks.server.ca_bundle}})
    assert hooks.create("first").code == 201
    before = hooks.server.connections
    assert [hooks.create(f"x{n}").code for n in range(5)] == [201] * 5
    assert hooks.server.connections == before
    assert hooks.server.paths == ["/by/service?timeout=10s"] * 6


def test_connections_and_answers_are_admitted(hooks: Hooks) -> None:
    subresources = ["pods/attach", "pods/exec", "pods/eviction", "pods/binding", "pods/proxy", "serviceaccounts/token"]
    rule = CREATE_CONFIGMAPS | {"operations": ["CONNECT", "CREATE"], "resources": subresources}
    hooks.register("Validating", {"clientConfig": hooks.server.config("/deny", deny("no")), "rules": [rule]})
    base = f"/api/v1/namespaces/{hooks.namespace}"
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert hooks.api.request("POST", f"{base}/pods", pod).code == 201
    wanted: list[tuple[str, Any, str]] = [
        ("pods/p/attach?stdout=true&container=c", None, "PodAttachOptions"),
        ("pods/p/exec?command=ls&command=-l&stdout=1", None, "PodExecOptions"),
        ("pods/p/proxy/some/path", None, "PodProxyOptions"),
        ("pods/p/eviction", {"metadata": {"name": "p"}}, "Eviction"),
        ("pods/p/binding", {"metadata": {"name": "p"}, "target": {"name": "n"}}, "Binding"),
        ("serviceaccounts/default/token", {"spec": {}}, "TokenRequest"),
    ]
    for path, body, kind in wanted:
        refused = hooks.api.request("POST", f"{base}/{path}", body)
        assert "denied the request: no" in refused.text, (path, refused.text)
        seen = hooks.server.asked[-1]
        assert seen["kind"]["kind"] == seen["object"]["kind"] == kind
        assert seen["subResource"] == path.split("/")[2].partition("?")[0]
        assert seen["operation"] == ("CONNECT" if body is None else "CREATE")
    exec_options = next(s["object"] for s in hooks.server.asked if s["subResource"] == "exec")
    assert exec_options == {"kind": "PodExecOptions", "apiVersion": "v1", "stdout": True, "command": ["ls", "-l"]}


def test_scale_is_seen_as_a_scale(hooks: Hooks) -> None:
    limit = patch({"op": "replace", "path": "/spec/replicas", "value": 2})
    rule = CREATE_CONFIGMAPS | {"operations": ["UPDATE"], "apiGroups": ["apps"], "resources": ["deployments/scale"]}
    hooks.register("Mutating", {"clientConfig": hooks.server.config("/scale", limit), "rules": [rule]})
    path = f"/apis/apps/v1/namespaces/{hooks.namespace}/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    assert hooks.api.request("POST", path, {"metadata": {"name": "d"}, "spec": spec}).code == 201
    scale = {"metadata": {"name": "d"}, "spec": {"replicas": 50}}
    assert hooks.api.request("PUT", f"{path}/d/scale", scale).json["spec"]["replicas"] == 2
    seen = hooks.server.asked[-1]
    assert seen["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert (seen["oldObject"]["spec"]["replicas"], seen["object"]["spec"]["replicas"]) == (1, 50)


def test_configurations_are_never_submitted(hooks: Hooks) -> None:
    rule = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
    config = hooks.server.config("/deny", deny("no"))
    selector = {"matchLabels": {"deny": "me"}}
    hooks.register("Validating", {"clientConfig": config, "rules": [rule], "objectSelector": selector})
    other = hooks.webhook(clientConfig=config)
    body = {"metadata": {"name": "test-other", "labels": {"deny": "me"}}, "webhooks": [other]}
    path = f"{REGISTRATION}/validatingwebhookconfigurations"
    assert hooks.api.request("POST", path, body).code == 201
    assert hooks.api.request("DELETE", f"{path}/test-other").code == 200
    refused = hooks.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": "n", "labels": {"deny": "me"}}})
    assert refused.code == 201, "the namespace selector leaves out a namespace of another name"


def test_broken_configurations_are_refused(hooks: Hooks) -> None:
    cases: list[tuple[Object, str]] = [
        ({"sideEffects": None}, "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"),
        ({"sideEffects": "Some"}, 'webhooks[0].sideEffects: Unsupported value: "Some"'),
        ({"admissionReviewVersions": []}, "webhooks[0].admissionReviewVersions: Required value"),
        ({"admissionReviewVersions": ["v9"]}, "must include at least one of v1, v1beta1"),
        ({"name": "short"}, "webhooks[0].name: Invalid value"),
        ({"timeoutSeconds": 31}, "the timeout value must be between 1 and 30 seconds"),
        ({"clientConfig": {"url": "http://a/b"}}, "'https' is the only allowed URL scheme"),
        ({"clientConfig": {"service": {"name": "a", "namespace": "b", "path": "x"}}}, "must start with a '/'"),
        ({"clientConfig": {}}, "exactly one of url or service is required"),
        ({"rules": [CREATE_CONFIGMAPS | {"operations": ["*", "CREATE"]}]}, "if '*' is present, must not specify other"),
        ({"rules": [CREATE_CONFIGMAPS | {"resources": ["pods", "*/*"]}]}, "if '*/*' is present"),
        ({"matchConditions": [{"name": "a", "expression": "object.a == "}]}, "compilation failed"),
        ({"matchConditions": [{"name": "a", "expression": "'text'"}]}, "must evaluate to bool"),
        ({"matchConditions": [{"name": "a", "expression": " "}]}, "matchConditions[0].expression: Required value"),
        ({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}, "must be specified when"),
    ]
    for fields, why in cases:
        webhook = hooks.webhook(clientConfig={"url": "https://a.example.com/b"}) | fields
        body = {"metadata": {"name": "broken"}, "webhooks": [webhook]}
        refused = hooks.api.request("POST", f"{REGISTRATION}/mutatingwebhookconfigurations", body)
        assert refused.code == 422 and why in refused.json["message"], (fields, refused.text)


def test_users_are_told_apart(hooks: Hooks) -> None:
    """The webhook sees who really asks, and what he asks with."""
    hooks.register("Validating", {"clientConfig": hooks.server.config("/see")})
    headers = {"Impersonate-User": "bob", "Impersonate-Group": "system:masters"}
    reply = hooks.api.request("POST", hooks.path, {"metadata": {"name": "x"}}, headers=headers)
    assert reply.code == 201, reply.text
    assert hooks.server.asked[-1]["userInfo"]["username"] == "bob"
    assert hooks.api.request("POST", hooks.path, {"metadata": {"name": "y"}}, token=USER_TOKEN).code == 403
    assert len(hooks.server.asked) == 1


def test_kubectl_sees_a_denial_of_attach(hooks: Hooks) -> None:
    rule = CREATE_CONFIGMAPS | {"operations": ["CONNECT"], "resources": ["pods/attach"]}
    hooks.register(
        "Validating", {"clientConfig": hooks.server.config("/deny", deny("attaching is not allowed")), "rules": [rule]}
    )
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    hooks.api.request("POST", f"/api/v1/namespaces/{hooks.namespace}/pods", pod)
    hooks.api.request(
        "PATCH",
        f"/api/v1/namespaces/{hooks.namespace}/pods/p/status",
        {"status": {"phase": "Running", "containerStatuses": []}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    command = ["kubectl", "--kubeconfig", hooks.api.kubeconfig, "attach", "-i", "-n", hooks.namespace, "p"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    assert done.returncode and "attaching is not allowed" in done.stderr


def test_custom_resources_and_their_definitions(hooks: Hooks) -> None:
    """What a webhook adds is pruned; a rule for one version gets objects of the other; definitions can be denied."""
    data = {"type": "object", "additionalProperties": {"type": "string"}}
    pruned = {"type": "object", "properties": {k: {"type": "string"} for k in ("mutation-start", "mutation-stage-1")}}
    for field, expected in ((pruned, 2), (data, 3)):
        plural = f"things{expected}"
        schema = {"openAPIV3Schema": {"type": "object", "properties": {"data": field}}}
        versions = [{"name": v, "served": True, "storage": v == "v1", "schema": schema} for v in ("v1", "v2")]
        names = {"plural": plural, "kind": plural.title()}
        spec = {"group": "hooks.example.com", "scope": "Namespaced", "names": names, "versions": versions}
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        made = {"metadata": {"name": f"{plural}.hooks.example.com"}, "spec": spec}
        assert hooks.api.request("POST", definitions, made).code == 201
        rule = {"operations": ["CREATE"], "apiGroups": ["hooks.example.com"], "apiVersions": ["v2"], "resources": ["*"]}
        stages = [patch({"op": "add", "path": f"/data/mutation-stage-{stage}", "value": "yes"}) for stage in (1, 2)]
        configs = [hooks.server.config(f"/{plural}-{n}", stage) for n, stage in enumerate(stages)]
        webhooks = [{"clientConfig": c, "rules": [rule], "name": f"s{n}.example.com"} for n, c in enumerate(configs)]
        hooks.register("Mutating", *webhooks, name=f"test-{plural}")
        path = f"/apis/hooks.example.com/v1/namespaces/{hooks.namespace}/{plural}"
        thing = {"apiVersion": "hooks.example.com/v1", "kind": plural.title(), "metadata": {"name": "x"}}
        body = thing | {"data": {"mutation-start": "yes"}}
        stored = eventually(lambda path=path, body=body: (r := hooks.api.request("POST", path, body)).code == 201 and r)
        assert len(stored.json["data"]) == expected and stored.json["apiVersion"] == "hooks.example.com/v1"
        assert hooks.server.asked[-1]["object"]["apiVersion"] == "hooks.example.com/v2"
        hooks.api.request("DELETE", f"{definitions}/{plural}.hooks.example.com")
    rule = CREATE_CONFIGMAPS | {"apiGroups": ["apiextensions.k8s.io"], "apiVersions": ["*"], "resources": ["*"]}
    config = hooks.server.config("/crd", deny("the crd contains unwanted label"))
    selector = {"matchLabels": {"e2e-test": "denied"}}
    hooks.register("Validating", {"clientConfig": config, "rules": [rule], "objectSelector": selector})
    made["metadata"] = {"name": made["metadata"]["name"], "labels": {"e2e-test": "denied"}}
    assert "the crd contains unwanted label" in hooks.api.request("POST", definitions, made).text
