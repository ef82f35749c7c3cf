"""Authentication, authorization and admission as clients of a real API server see them."""

import concurrent.futures
import subprocess
import time
from typing import Any

import yaml

from apimachinery import pki
from apimachinery.config import kubeconfig
from tests.control_plane import BIN, USER_TOKEN, ApiServerProgram
from tests.waiting import eventually

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


def node_says(apiserver: ApiServerProgram, node: str, *arguments: str, stdin: str = "") -> tuple[int, str]:
    """What kubectl answers with the certificate of ``node``: exit code and output."""
    directory = apiserver.directory
    ca = pki.ensure_ca(directory)
    pair = ca.ensure_client(directory / node, f"system:node:{node}", ["system:nodes"])
    config = directory / f"{node}.conf"
    config.write_text(yaml.safe_dump(kubeconfig(apiserver.url, ca.pem, pair.certificate_pem, pair.key_pem)))
    command = [str(BIN / "kubectl"), "--kubeconfig", str(config), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout + done.stderr


def test_a_node_keeps_to_itself(apiserver: ApiServerProgram, namespace: str) -> None:
    base = f"/api/v1/namespaces/{namespace}"
    for name in ("mine", "other"):
        apiserver.request("POST", f"{base}/secrets", {"metadata": {"name": name}})
    volumes = [{"name": "s", "secret": {"secretName": "mine"}}]
    spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}], "volumes": volumes}
    apiserver.request("POST", f"{base}/pods", {"metadata": {"name": "p"}, "spec": spec})
    in_namespace = ("-n", namespace)
    eventually(lambda: node_says(apiserver, "n1", *in_namespace, "get", "secret", "mine")[0] == 0)
    for node, name in (("n1", "other"), ("n2", "mine")):
        code, text = node_says(apiserver, node, *in_namespace, "get", "secret", name)
        assert code == 1 and f'User "system:node:{node}" cannot get resource "secrets"' in text
    node = '{"apiVersion":"v1","kind":"Node","metadata":{"name":"%s"}}'
    assert node_says(apiserver, "n1", "create", "-f", "-", stdin=node % "n1")[0] == 0
    code, text = node_says(apiserver, "n1", "create", "-f", "-", stdin=node % "n2")
    assert code == 1 and "is not allowed to modify node" in text
    code, text = node_says(apiserver, "n2", *in_namespace, "delete", "pod", "p", "--wait=false")
    assert code == 1 and "can only touch pods" in text
    assert node_says(apiserver, "n1", *in_namespace, "delete", "pod", "p", "--wait=false")[0] == 0
    code, text = node_says(apiserver, "n1", "taint", "node", "n1", "a=b:NoSchedule")
    assert code == 1 and "is not allowed to modify taints" in text


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
