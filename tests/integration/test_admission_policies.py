"""Admission policies as upstream's conformance tests see them, on a real API server."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.control_plane import ADMIN_TOKEN, USER_TOKEN, ApiServerProgram, Reply
from tests.waiting import eventually

Object = dict[str, Any]
REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
DEPLOYMENTS = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}
TIME = "2026-01-01T00:00:00Z"
CONFIG_MAPS = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}


class Policies:
    """Makes policies for one namespace, bound to it, and waits until they are in effect."""

    def __init__(self, api: ApiServerProgram, namespace: str) -> None:
        self.api, self.namespace = api, namespace
        self.made: list[str] = []
        self.selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}

    def validating(self, rule: Object, *validations: Object, binding: Object | None = None, **spec: Any) -> str:
        """The name of the policy."""
        return self._make("Validating", rule, {"validations": list(validations), **spec}, binding or {})

    def mutating(self, rule: Object, *mutations: Object, binding: Object | None = None, **spec: Any) -> str:
        body = {"mutations": list(mutations), "reinvocationPolicy": "Never", **spec}
        return self._make("Mutating", rule, body, binding or {})

    def _make(self, kind: str, rule: Object, spec: Object, binding: Object) -> str:
        name = f"{self.namespace}-{len(self.made)}.example.com"
        rule = {"operations": ["CREATE", "UPDATE"], **rule}
        match = {"resourceRules": [rule], "namespaceSelector": self.selector}
        made = self.create(f"{kind.lower()}admissionpolicies", name, {"matchConstraints": match, **spec})
        assert made.code == 201, made.text
        actions = {"validationActions": ["Deny"]} if kind == "Validating" else {}
        body = {"policyName": name, "matchResources": {"namespaceSelector": self.selector}, **actions, **binding}
        made = self.create(f"{kind.lower()}admissionpolicybindings", name, body)
        assert made.code == 201, made.text
        return name

    def create(self, resource: str, name: str, spec: Object) -> Reply:
        path = f"{REGISTRATION}/{resource}"
        self.made.append(f"{path}/{name}")
        return self.api.request("POST", path, {"metadata": {"name": name}, "spec": spec})

    @property
    def config_maps(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/configmaps"

    @property
    def deployments(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments"

    def config_map(self, name: str = "x", token: str = ADMIN_TOKEN, **rest: Any) -> Reply:
        return self.api.request("POST", self.config_maps, {"metadata": {"name": name}, **rest}, token=token)

    def refused(self, path: str, body: Object) -> Reply:
        """The refusal of a request, which comes as soon as the policy is in effect."""

        def reply() -> Reply | None:
            told = self.api.request("POST", f"{path}?dryRun=All", body)
            return told if told.code >= 400 else None

        found: Reply = eventually(reply)
        return found

    def in_effect(self, body: Object, sign: str) -> Reply:
        """What is made of a config map once ``sign`` is in it."""

        def reply() -> Reply | None:
            told = self.api.request("POST", f"{self.config_maps}?dryRun=All", body)
            return told if sign in told.text else None

        found: Reply = eventually(reply)
        return found

    def status(self, name: str) -> Object:
        """A validating policy's, once its types were checked."""
        path = f"{REGISTRATION}/validatingadmissionpolicies/{name}"

        def settled() -> Object | None:
            found: Object = self.api.request("GET", path).json
            checked = found["status"].get("observedGeneration") == found["metadata"]["generation"]
            return found["status"] if checked else None

        told: Object = eventually(settled)
        return told


@pytest.fixture
def policies(apiserver: ApiServerProgram, namespace: str) -> Any:
    made = Policies(apiserver, namespace)
    yield made
    for path in made.made:
        apiserver.request("DELETE", path)


def deployment(name: str, replicas: int, kind: str = "Deployment") -> Object:
    labels = {"app": "nginx"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "nginx", "image": "nginx:latest"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec}


def config_map(name: str = "x", **rest: Any) -> Object:
    return {"metadata": {"name": name}, **rest}


# Validating policies.


def test_validates_against_a_deployment(policies: Policies) -> None:
    policy = policies.validating(
        DEPLOYMENTS,
        {
            "expression": "object.spec.replicas > 1",
            "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas",
        },
    )
    denied = policies.refused(policies.deployments, deployment("marker", 1))
    assert (denied.code, denied.json["reason"]) == (422, "Invalid")
    told = f"ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request"
    assert denied.json["message"] == (
        f'deployments.apps "marker" is forbidden: {told}: failed expression: object.spec.replicas > 1'
    )
    assert denied.json["details"]["causes"][0]["message"].startswith(told)
    assert policies.api.request("POST", policies.deployments, deployment("replicated", 2)).code == 201
    sets = policies.deployments.replace("deployments", "replicasets")
    assert policies.api.request("POST", sets, deployment("single", 1, "ReplicaSet")).code == 201


def test_variables_messages_and_reasons(policies: Policies) -> None:
    policies.validating(
        CONFIG_MAPS,
        {
            "expression": "variables.size <= variables.limit",
            "messageExpression": "'has %d keys, may have %d in %s'.format("
            "[variables.size, variables.limit, namespaceObject.metadata.name])",
            "reason": "Forbidden",
        },
        variables=[
            {"name": "data", "expression": "object.?data.orValue({})"},
            {"name": "size", "expression": "variables.data.size()"},
            {"name": "limit", "expression": "request.userInfo.username == 'admin' ? 1 : 0"},
            {"name": "unused", "expression": "1 / 0"},
        ],
    )
    denied = policies.refused(policies.config_maps, config_map(data={"a": "1", "b": "2"}))
    assert (denied.code, denied.json["reason"]) == (403, "Forbidden")
    assert denied.json["message"].endswith(f"has 2 keys, may have 1 in {policies.namespace}")
    assert policies.config_map(data={"a": "1"}).code == 201


def test_updates_see_the_old_object_and_deletions_have_none(policies: Policies) -> None:
    rule = {**CONFIG_MAPS, "operations": ["UPDATE", "DELETE"]}
    policies.validating(
        rule,
        {"expression": "request.operation == 'DELETE' || object.data.a == oldObject.data.a", "message": "a is fixed"},
        {"expression": "object != null || !has(oldObject.metadata.labels)", "message": "keep it"},
    )
    assert policies.config_map("plain", data={"a": "1"}).code == 201
    assert policies.config_map("kept", data={"a": "1"}) is not None
    body = {"metadata": {"name": "plain"}, "data": {"a": "2"}}
    path = f"{policies.config_maps}/plain"
    denied = eventually(lambda: (r := policies.api.request("PUT", path, body)).code == 422 and r)
    assert denied.json["message"].endswith("a is fixed")
    labelled = {"metadata": {"name": "plain", "labels": {"a": "b"}}, "data": {"a": "1"}}
    assert policies.api.request("PUT", path, labelled).code == 200
    denied = policies.api.request("DELETE", path)
    assert denied.code == 422
    assert denied.json["message"].endswith("keep it")
    assert policies.api.request("DELETE", f"{policies.config_maps}/kept").code == 200


def test_match_conditions_rules_and_selectors_leave_out(policies: Policies) -> None:
    match = {
        "resourceRules": [{**CONFIG_MAPS, "operations": ["*"], "resourceNames": ["a", "b", "c"]}],
        "excludeResourceRules": [{**CONFIG_MAPS, "operations": ["*"], "resourceNames": ["b"]}],
        "namespaceSelector": policies.selector,
        "objectSelector": {"matchExpressions": [{"key": "free", "operator": "DoesNotExist"}]},
    }
    condition = {"name": "not-free", "expression": "!has(object.data) || !('free' in object.data)"}
    policies.validating(CONFIG_MAPS, {"expression": "false"}, matchConstraints=match, matchConditions=[condition])
    assert policies.refused(policies.config_maps, config_map("a")).code == 422
    assert policies.config_map("a", data={"free": "1"}).code == 201
    assert policies.config_map("b").code == 201
    assert policies.config_map("d").code == 201
    body = {"metadata": {"name": "c", "labels": {"free": "1"}}}
    assert policies.api.request("POST", policies.config_maps, body).code == 201


def test_warnings_audit_and_failures(policies: Policies) -> None:
    policies.validating(
        CONFIG_MAPS, {"expression": "false", "message": "mind this"}, binding={"validationActions": ["Warn", "Audit"]}
    )

    def warned() -> str:
        return policies.api.request("POST", f"{policies.config_maps}?dryRun=All", config_map()).headers.get(
            "warning", ""
        )

    assert "mind this" in eventually(warned)
    lenient = policies.validating(CONFIG_MAPS, {"expression": "object.data.nope == ''"}, failurePolicy="Ignore")
    policies.validating(CONFIG_MAPS, {"expression": "object.data.nope == ''"})
    denied = policies.refused(policies.config_maps, config_map(data={"a": ""}))
    assert lenient not in denied.text
    assert "expression 'object.data.nope == ''' resulted in error: no such key: nope" in denied.json["message"]


def test_parameters(policies: Policies) -> None:
    rule = {**CONFIG_MAPS, "resourceNames": ["x"]}
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    validation = {
        "expression": "object.data.size() <= int(params.data.max)",
        "messageExpression": "'at most ' + params.data.max",
    }
    reference = {"name": "limits", "parameterNotFoundAction": "Deny"}
    policies.validating(rule, validation, paramKind=kind, binding={"paramRef": reference})
    denied = policies.refused(policies.config_maps, config_map(data={"a": "", "b": ""}))
    assert "no params found for policy binding with `Deny` parameterNotFoundAction" in denied.json["message"]
    assert policies.config_map("limits", data={"max": "1"}).code == 201
    assert (
        policies.refused(policies.config_maps, config_map(data={"a": "", "b": ""}))
        .json["message"]
        .endswith("at most 1")
    )
    assert policies.config_map(data={"a": ""}).code == 201


def test_parameters_by_selector(policies: Policies) -> None:
    rule = {**CONFIG_MAPS, "resourceNames": ["x"]}
    selector = {"selector": {"matchLabels": {"limit": "yes"}}, "parameterNotFoundAction": "Allow"}
    validation = {
        "expression": "!(params.data.key in object.data)",
        "messageExpression": "params.data.key + ' is taken'",
    }
    for name in ("one", "two"):
        body = {"metadata": {"name": name, "labels": {"limit": "yes"}}, "data": {"key": name}}
        assert policies.api.request("POST", policies.config_maps, body).code == 201
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    policies.validating(rule, validation, paramKind=kind, binding={"paramRef": selector})
    denied = policies.refused(policies.config_maps, config_map(data={"two": ""}))
    assert denied.json["message"].endswith("two is taken")
    assert policies.config_map(data={"three": ""}).code == 201


def test_authorizer_answers_for_the_user(policies: Policies) -> None:
    check = "authorizer.group('').resource('secrets').namespace(request.namespace).check('create').allowed()"
    policies.validating(CONFIG_MAPS, {"expression": check, "message": "you may not make secrets"})
    role = {"metadata": {"name": "maps"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]}
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{policies.namespace}"
    policies.api.request("POST", f"{rbac}/roles", role)
    subject = {"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}
    reference = {"kind": "Role", "name": "maps", "apiGroup": "rbac.authorization.k8s.io"}
    binding = {"metadata": {"name": "maps"}, "subjects": [subject], "roleRef": reference}
    policies.api.request("POST", f"{rbac}/rolebindings", binding)
    denied = eventually(lambda: (r := policies.config_map(token=USER_TOKEN)).code == 422 and r)
    assert denied.json["message"].endswith("you may not make secrets")
    assert policies.config_map().code == 201


def test_policies_see_connections(policies: Policies) -> None:
    rule = {"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/exec"]}
    policies.validating(rule, {"expression": "object.command[0] != 'sh'", "message": "no shells"})
    pods = f"/api/v1/namespaces/{policies.namespace}/pods"
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert policies.api.request("POST", pods, pod).code == 201
    path = f"{pods}/p/exec?command=sh&stdout=1"
    eventually(lambda: "no shells" in policies.api.request("GET", path).text)


# What is wrong with a policy.


def test_expressions_are_compiled_at_create(policies: Policies) -> None:
    def told(**spec: Any) -> str:
        match = {"resourceRules": [{**CONFIG_MAPS, "operations": ["*"]}]}
        body = {"matchConstraints": match, "validations": [{"expression": "true"}], **spec}
        reply = policies.create("validatingadmissionpolicies", "wrong.example.com", body)
        assert reply.code == 422, reply.text
        return str(reply.json["message"])

    message = told(validations=[{"expression": "object.x +"}])
    assert (
        'spec.validations[0].expression: Invalid value: "object.x +": compilation failed: ERROR: <input>:1:11'
        in message
    )
    assert "must evaluate to bool" in told(validations=[{"expression": "'a'"}])
    assert "undeclared reference to 'params'" in told(validations=[{"expression": "params.a"}])
    assert "undefined field 'later'" in told(
        variables=[{"name": "a", "expression": "variables.later"}, {"name": "later", "expression": "1"}]
    )
    assert "matchConditions[0].expression" in told(matchConditions=[{"name": "c", "expression": "nope"}])
    assert "validations or auditAnnotations must contain at least one item" in told(validations=[])
    assert "messageExpression" in told(validations=[{"expression": "true", "messageExpression": "1"}])


def test_expressions_are_type_checked(policies: Policies) -> None:
    right = policies.validating(DEPLOYMENTS, {"expression": "object.spec.replicas > 1"})
    assert policies.status(right)["typeChecking"] == {}
    condition = {"type": "Fine", "status": "True", "reason": "Seen", "message": "", "lastTransitionTime": TIME}
    path = f"{REGISTRATION}/validatingadmissionpolicies/{right}/status"
    merge = {"Content-Type": "application/merge-patch+json"}
    change = {"status": {"conditions": [condition], "observedGeneration": None}}
    assert policies.api.request("PATCH", path, change, headers=merge).code == 200
    assert policies.status(right)["conditions"] == [condition]
    confused = policies.validating(
        DEPLOYMENTS,
        {
            "expression": "object.spec.replicas > '1'",
            "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas",
        },
    )
    first, second = policies.status(confused)["typeChecking"]["expressionWarnings"]
    assert first["fieldRef"] == "spec.validations[0].expression"
    assert "found no matching overload for '_>_' applied to '(int, string)'" in first["warning"]
    assert first["warning"].startswith("apps/v1, Kind=Deployment: ")
    assert second["fieldRef"] == "spec.validations[0].messageExpression"
    assert "found no matching overload for '_+_' applied to '(string, int)'" in second["warning"]


# Mutating policies.


def apply(expression: str) -> Object:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def json_patch(expression: str) -> Object:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def test_mutates_a_deployment(policies: Policies) -> None:
    policies.mutating(
        DEPLOYMENTS,
        apply('Object{metadata: Object.metadata{annotations: {"mutated-by": "admission-policy"}}}'),
        apply("""
            Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
              containers: object.spec.template.spec.containers.map(c,
                Object.spec.template.spec.containers{name: c.name, imagePullPolicy: "Never"}),
              initContainers: [Object.spec.template.spec.initContainers{name: "first", image: "busybox"}]
            }}}}"""),
    )
    body = deployment("d", 2)

    def mutated() -> Object | None:
        made: Object = policies.api.request("POST", f"{policies.deployments}?dryRun=All", body).json
        return made if "mutated-by" in made["metadata"].get("annotations", {}) else None

    made = eventually(mutated)
    assert made["metadata"]["annotations"] == {"mutated-by": "admission-policy"}
    spec = made["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == "nginx:latest"
    assert spec["containers"][0]["imagePullPolicy"] == "Never"
    assert spec["initContainers"][0]["terminationMessagePath"] == "/dev/termination-log"
    assert made["spec"]["replicas"] == 2


def test_json_patches_conditions_and_parameters(policies: Policies) -> None:
    assert policies.config_map("owner", data={"name": "team/a"}).code == 201
    policies.mutating(
        {**CONFIG_MAPS, "resourceNames": ["x"]},
        json_patch(
            'has(object.metadata.labels) ? [] : [JSONPatch{op: "add", path: "/metadata/labels", value: {"owner": "a"}}]'
        ),
        json_patch(
            '[JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("example.com/team"), '
            "value: variables.team}]"
        ),
        variables=[{"name": "team", "expression": "params.data.name.split('/')[1]"}],
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        matchConditions=[{"name": "has-data", "expression": "has(object.data)"}],
        binding={"paramRef": {"name": "owner", "parameterNotFoundAction": "Deny"}},
    )
    made = policies.in_effect(config_map(data={"a": "1"}), "example.com/team").json
    assert made["metadata"]["labels"] == {"owner": "a", "example.com/team": "a"}
    assert "labels" not in policies.config_map().json["metadata"]


def test_a_mutation_that_cannot_be_made_is_refused(policies: Policies) -> None:
    policies.mutating({**CONFIG_MAPS, "resourceNames": ["x"]}, apply("Object{data: Object.wrong{a: '1'}}"))
    denied = policies.refused(policies.config_maps, config_map())
    assert 'type mismatch: unexpected type name "Object.wrong", expected "Object.data"' in denied.json["message"]
    policies.mutating({**CONFIG_MAPS, "resourceNames": ["z"]}, apply("Object{nope: Object.nope{a: '1'}}"))
    assert ".nope: field not declared in schema" in policies.refused(policies.config_maps, config_map("z")).text
    policies.mutating(
        {**CONFIG_MAPS, "resourceNames": ["y"]}, json_patch('[JSONPatch{op: "add", path: "/data/a", value: 1}]')
    )
    assert "JSONPath: " in policies.refused(policies.config_maps, config_map("y")).json["message"]


def test_policies_are_reinvoked(policies: Policies) -> None:
    first = apply("Object{data: {'count': string(object.?data.?count.hasValue() ? int(object.data.count) + 1 : 1)}}")
    policies.mutating(CONFIG_MAPS, first, reinvocationPolicy="IfNeeded")
    policies.mutating(CONFIG_MAPS, apply("Object{data: {'second': 'seen ' + object.data.count}}"))
    assert policies.in_effect(config_map(), "second").json["data"] == {"count": "2", "second": "seen 1"}


def test_a_validating_policy_sees_what_a_mutating_one_made(policies: Policies) -> None:
    policies.mutating(CONFIG_MAPS, apply("Object{data: {'a': 'mutated'}}"))
    policies.validating(CONFIG_MAPS, {"expression": "object.data.a != 'mutated'"})
    assert policies.refused(policies.config_maps, config_map()).code == 422


@pytest.mark.parametrize("kind", ["validating", "mutating"])
def test_api_operations(policies: Policies, kind: str) -> None:
    """As upstream's "should support the ... API operations"."""
    api, path = policies.api, f"{REGISTRATION}/{kind}admissionpolicies"
    rules = {"matchConstraints": {"resourceRules": [{**DEPLOYMENTS, "operations": ["CREATE"]}]}}
    rules |= {"validations": [{"expression": "true"}]} if kind == "validating" else {
        "reinvocationPolicy": "Never", "mutations": [apply("Object{}")]
    }  # fmt: skip
    body = {"metadata": {"generateName": "e2e-", "labels": {"of": kind}}, "spec": rules}
    made = [api.request("POST", path, body) for _ in range(3)]
    assert [m.code for m in made] == [201] * 3, made[0].text
    name = made[0].json["metadata"]["name"]
    change = {"metadata": {"annotations": {"patched": "true"}}, "spec": {"failurePolicy": "Ignore"}}
    patched = api.request("PATCH", f"{path}/{name}", change, headers={"Content-Type": "application/merge-patch+json"})
    assert patched.json["spec"]["failurePolicy"] == "Ignore"
    fresh = eventually(lambda: api.request("GET", f"{path}/{name}").json)
    fresh["spec"]["failurePolicy"] = "Fail"
    assert api.request("PUT", f"{path}/{name}", fresh).code in (200, 409)
    assert api.request("DELETE", f"{path}/{name}").code == 200
    assert len(api.request("GET", f"{path}?labelSelector=of={kind}").json["items"]) == 2
    assert api.request("DELETE", f"{path}?labelSelector=of={kind}").code == 200
    assert api.request("GET", f"{path}?labelSelector=of={kind}").json["items"] == []


def test_a_costly_policy_holds_up_nobody(policies: Policies) -> None:
    """Its budget ends it; meanwhile others are served."""
    costly = "object.data.l.split(',').all(a, object.data.l.split(',').all(b, a + b != 'x'))"
    policies.validating({**CONFIG_MAPS, "resourceNames": ["slow"]}, {"expression": costly})
    body = config_map("slow", data={"l": ",".join("a" * 5000)})
    policies.refused(policies.config_maps, body)
    served = 0
    with ThreadPoolExecutor() as pool:
        refusals = [pool.submit(policies.api.request, "POST", policies.config_maps, body) for _ in range(3)]
        while not all(r.done() for r in refusals):
            served += policies.api.request("GET", "/livez/ping").code == 200
    assert "actual cost limit exceeded" in refusals[0].result().json["message"]
    assert served > 10


def test_policies_are_about_custom_kinds_too(policies: Policies) -> None:
    """As objects and as parameters; expressions are checked against their schema."""
    group = f"{policies.namespace}.example.com"
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "things", "kind": "Thing"}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    body = {"metadata": {"name": f"things.{group}"}, "spec": spec}
    assert policies.api.request("POST", definitions, body).code == 201
    policies.made.append(f"{definitions}/things.{group}")
    path = f"/apis/{group}/v1/namespaces/{policies.namespace}/things"
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "limit"}, "spec": {"size": 5}}
    eventually(lambda: policies.api.request("POST", path, thing).code == 201)
    policies.validating(
        {"apiGroups": [group], "apiVersions": ["*"], "resources": ["things"]},
        {"expression": "object.spec.size <= params.spec.size"},
        paramKind={"apiVersion": f"{group}/v1", "kind": "Thing"},
        binding={"paramRef": {"name": "limit", "parameterNotFoundAction": "Deny"}},
    )
    large = {**thing, "metadata": {"name": "large"}, "spec": {"size": 6}}
    assert policies.refused(path, large).code == 422
    assert policies.api.request("POST", path, {**large, "spec": {"size": 4}}).code == 201
    rule = {"apiGroups": [group], "apiVersions": ["v1"], "resources": ["things"]}
    confused = policies.validating(rule, {"expression": "object.spec.size > '1' && object.metadata.labels['a'] == 'b'"})
    (warning,) = policies.status(confused)["typeChecking"]["expressionWarnings"]
    assert warning["warning"].startswith(f"{group}/v1, Kind=Thing: ")
    assert "found no matching overload for '_>_' applied to '(int, string)'" in warning["warning"]
