"""Authentication, authorization and admission as clients of a real API server see them."""

import concurrent.futures
import time
from typing import Any

from tests.control_plane import USER_TOKEN, ApiServerProgram, eventually

RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEW = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


def bind(apiserver: ApiServerProgram, namespace: str, role: str, user: str) -> None:
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
    body = {"metadata": {"name": f"{role}-{user}"}, "roleRef": ref, "subjects": [subject]}
    assert apiserver.request("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", body).code == 201


def allowed(apiserver: ApiServerProgram, user: str, verb: str, namespace: str) -> bool:
    attributes = {"verb": verb, "resource": "configmaps", "namespace": namespace}
    answer = apiserver.request("POST", REVIEW, {"spec": {"user": user, "resourceAttributes": attributes}})
    assert answer.code == 201, answer
    return bool(answer.json["status"]["allowed"])


def test_a_binding_takes_effect_and_reviews_agree_with_requests(apiserver: ApiServerProgram, namespace: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    assert apiserver.request("GET", maps, token=USER_TOKEN).code == 403
    assert not allowed(apiserver, "alice", "list", namespace)
    bind(apiserver, namespace, "view", "alice")
    eventually(lambda: apiserver.request("GET", maps, token=USER_TOKEN).code == 200)
    assert allowed(apiserver, "alice", "list", namespace) and not allowed(apiserver, "alice", "create", namespace)
    refused = apiserver.request("POST", maps, {"metadata": {"name": "x"}}, token=USER_TOKEN)
    assert refused.code == 403 and 'cannot create resource "configmaps"' in refused.json["message"]


def test_nobody_rises_above_himself(apiserver: ApiServerProgram, namespace: str) -> None:
    bind(apiserver, namespace, "admin", "alice")
    rule = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["delete"]}
    roles = f"{RBAC}/namespaces/{namespace}/roles"
    eventually(lambda: apiserver.request("GET", roles, token=USER_TOKEN).code == 200)
    refused = apiserver.request("POST", roles, {"metadata": {"name": "up"}, "rules": [rule]}, token=USER_TOKEN)
    assert refused.code == 403 and "not currently held" in refused.json["message"]
    own = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    granted = apiserver.request("POST", roles, {"metadata": {"name": "same"}, "rules": [own]}, token=USER_TOKEN)
    assert granted.code == 201


def test_account_tokens_live_as_long_as_their_pod(apiserver: ApiServerProgram, namespace: str) -> None:
    base = f"/api/v1/namespaces/{namespace}"
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    uid = apiserver.request("POST", f"{base}/pods", pod).json["metadata"]["uid"]
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid}
    asked = {"spec": {"boundObjectRef": ref, "expirationSeconds": 3600}}
    token = apiserver.request("POST", f"{base}/serviceaccounts/default/token", asked).json["status"]["token"]

    def review() -> Any:
        answer = apiserver.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}})
        return answer.json["status"]

    assert review()["user"]["username"] == f"system:serviceaccount:{namespace}:default"
    assert review()["user"]["extra"]["authentication.kubernetes.io/pod-uid"] == [uid]
    whoami = apiserver.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, token=token)
    assert whoami.json["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:default"
    assert apiserver.request("GET", "/openid/v1/jwks", token=token).json["keys"][0]["alg"] == "ES256"
    apiserver.request("DELETE", f"{base}/pods/p?gracePeriodSeconds=0")
    eventually(lambda: not review()["authenticated"])


def test_a_quota_is_exact_under_a_rush(apiserver: ApiServerProgram, namespace: str) -> None:
    base = f"/api/v1/namespaces/{namespace}"
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": "5"}}}
    assert apiserver.request("POST", f"{base}/resourcequotas", quota).code == 201

    def create(number: int) -> int:
        return int(apiserver.request("POST", f"{base}/configmaps", {"metadata": {"name": f"m{number}"}}).code)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(create, range(40)))
    assert codes.count(201) == 5 and codes.count(403) == 35
    assert apiserver.request("DELETE", f"{base}/configmaps/m{codes.index(201)}").code == 200
    eventually(lambda: create(int(time.monotonic() * 1000)) == 201)


def test_an_ending_namespace_takes_nothing_new(apiserver: ApiServerProgram, namespace: str) -> None:
    apiserver.request("DELETE", f"/api/v1/namespaces/{namespace}")
    refused = apiserver.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "x"}})
    assert refused.code == 403 and refused.json["details"]["causes"][0]["reason"] == "NamespaceTerminating"
