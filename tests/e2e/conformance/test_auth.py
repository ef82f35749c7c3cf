"""sig-auth: upstream's tests that need no running pod. Each test is named after upstream's."""

import base64
import json

import pytest

from tests.control_plane import ApiServerProgram
from tests.e2e.conformance.api import MERGE, Object, Refused, resource
from tests.e2e.conformance.test_lifecycles import certificate_request
from tests.waiting import eventually

MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.mark.parametrize("account", [None, True, False])
@pytest.mark.parametrize("pod", [None, True, False])
def test_should_allow_opting_out_of_api_token_automount(
    plane: ApiServerProgram, space: str, account: bool | None, pod: bool | None
) -> None:
    given = {} if account is None else {"automountServiceAccountToken": account}
    resource(plane, "serviceaccounts", namespace=space).create({"metadata": {"name": "mount"}, **given})
    spec: Object = {"containers": [{"name": "c", "image": "i"}], "serviceAccountName": "mount"}
    if pod is not None:
        spec["automountServiceAccountToken"] = pod
    made = resource(plane, "pods", namespace=space).create({"metadata": {"name": "p"}, "spec": spec})
    mounts = made["spec"]["containers"][0].get("volumeMounts", [])
    wanted = pod if pod is not None else account is not False
    assert [m["mountPath"] for m in mounts] == ([MOUNT] if wanted else [])


def test_should_guarantee_kube_root_ca_crt_exist_in_any_namespace(plane: ApiServerProgram, space: str) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    eventually(lambda: "BEGIN CERTIFICATE" in maps.get("kube-root-ca.crt")["data"]["ca.crt"])
    maps.delete("kube-root-ca.crt")
    eventually(lambda: not maps.gone("kube-root-ca.crt"))
    maps.patch("kube-root-ca.crt", {"data": {"ca.crt": ""}}, MERGE)
    eventually(lambda: maps.get("kube-root-ca.crt")["data"]["ca.crt"])


def test_should_update_a_serviceaccount(plane: ApiServerProgram, space: str) -> None:
    accounts = resource(plane, "serviceaccounts", namespace=space)
    made = accounts.create({"metadata": {"name": "e2e-sa"}, "automountServiceAccountToken": False})
    made["automountServiceAccountToken"] = True
    assert accounts.update(made)["automountServiceAccountToken"] is True


def test_should_create_a_serviceaccounttoken_and_ensure_a_successful_tokenreview(
    plane: ApiServerProgram, space: str
) -> None:
    accounts = resource(plane, "serviceaccounts", namespace=space)
    uid = accounts.create({"metadata": {"name": "e2e"}})["metadata"]["uid"]
    asked = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "metadata": {},
        "spec": {"audiences": []},
    }
    token = accounts.create(asked, "token", "e2e")["status"]["token"]
    reviews = resource(plane, "tokenreviews", "authentication.k8s.io")
    status = reviews.create({"metadata": {"name": "x"}, "spec": {"token": token}})["status"]
    assert status["authenticated"] is True
    user = status["user"]
    assert (user["username"], user["uid"]) == (f"system:serviceaccount:{space}:e2e", uid)
    assert set(user["groups"]) == {"system:serviceaccounts", f"system:serviceaccounts:{space}", "system:authenticated"}
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert user["extra"]["authentication.kubernetes.io/credential-id"] == [f"JTI={claims['jti']}"]
    assert (claims["kubernetes.io"]["serviceaccount"], claims["sub"]) == ({"name": "e2e", "uid": uid}, user["username"])
    accounts.delete("e2e")
    after = reviews.create({"metadata": {"name": "x"}, "spec": {"token": token}})["status"]
    assert after.get("authenticated", False) is False


def test_serviceaccountissuerdiscovery_should_support_oidc_discovery(plane: ApiServerProgram) -> None:
    document = plane.request("GET", "/.well-known/openid-configuration")
    assert (document.code, document.json["issuer"]) == (200, "https://kubernetes.default.svc.cluster.local")
    keys = plane.request("GET", "/openid/v1/jwks").json["keys"]
    assert [k["use"] for k in keys] == ["sig"]
    assert document.json["id_token_signing_alg_values_supported"] == [keys[0]["alg"]]


def test_subjectreview_should_support_subjectreview_api_operations(plane: ApiServerProgram, space: str) -> None:
    """What a review says of an account is what the account meets."""
    accounts = resource(plane, "serviceaccounts", namespace=space)
    accounts.create({"metadata": {"name": "e2e"}})
    user = f"system:serviceaccount:{space}:e2e"
    about = {"namespace": space, "verb": "list", "resource": "configmaps", "version": "v1"}
    spec = {"user": user, "resourceAttributes": about}
    whole = resource(plane, "subjectaccessreviews", "authorization.k8s.io")
    local = resource(plane, "localsubjectaccessreviews", "authorization.k8s.io", space)

    def allowed() -> set[bool]:
        said = [r.create({"metadata": {"namespace": n}, "spec": spec}) for r, n in ((whole, ""), (local, space))]
        return {answer["status"].get("allowed", False) for answer in said}

    def listed() -> int:
        headers = {"Impersonate-User": user}
        return plane.request("GET", f"/api/v1/namespaces/{space}/configmaps", headers=headers).code

    assert (allowed(), listed()) == ({False}, 403)
    bindings = resource(plane, "rolebindings", "rbac.authorization.k8s.io", space)
    role = {"kind": "ClusterRole", "name": "view", "apiGroup": "rbac.authorization.k8s.io"}
    subject = {"kind": "ServiceAccount", "name": "e2e", "namespace": space}
    bindings.create({"metadata": {"name": "b"}, "roleRef": role, "subjects": [subject]})
    eventually(lambda: (allowed(), listed()) == ({True}, 200))


def test_selfsubjectreviews_should_tell_who_asks(plane: ApiServerProgram) -> None:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    headers = {
        "Impersonate-User": "jane",
        "Impersonate-Uid": "u",
        "Impersonate-Group": "dev",
        "Impersonate-Extra-Key": "v",
    }
    info = plane.request("POST", path, {}, headers=headers).json["status"]["userInfo"]
    assert (info["username"], info["uid"], info["extra"]) == ("jane", "u", {"key": ["v"]})
    assert set(info["groups"]) == {"dev", "system:authenticated"}


def test_a_bound_token_dies_with_its_pod(plane: ApiServerProgram, space: str) -> None:
    pods, accounts = resource(plane, "pods", namespace=space), resource(plane, "serviceaccounts", namespace=space)
    pod = pods.create({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})["metadata"]
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod["uid"]}
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
             "spec": {"audiences": [], "boundObjectRef": bound}}  # fmt: skip
    token = accounts.create(asked, "token", "default")["status"]["token"]
    reviews = resource(plane, "tokenreviews", "authentication.k8s.io")

    def review() -> Object:
        status: Object = reviews.create({"metadata": {"name": "x"}, "spec": {"token": token}})["status"]
        return status

    extra = review()["user"]["extra"]
    assert extra["authentication.kubernetes.io/pod-name"] == ["p"]
    assert extra["authentication.kubernetes.io/pod-uid"] == [pod["uid"]]
    pods.delete("p")
    eventually(lambda: not review().get("authenticated"))


def test_approval_and_status_touch_only_their_part(plane: ApiServerProgram, space: str) -> None:
    requests = resource(plane, "certificatesigningrequests", "certificates.k8s.io")
    spec = {"request": certificate_request(), "signerName": f"example.com/{space}", "usages": ["server auth"]}
    name = requests.create({"metadata": {"generateName": "e2e-"}, "spec": spec})["metadata"]["name"]
    condition = {"type": "ApprovalPatch", "status": "True", "reason": "e2e"}
    body = {"metadata": {"annotations": {"patchedapproval": "true"}}, "status": {"conditions": [condition]}}
    patched = requests.patch(name, body, MERGE, "approval")
    assert [c["type"] for c in patched["status"]["conditions"]] == ["ApprovalPatch"]
    assert patched["metadata"]["annotations"]["patchedapproval"] == "true"
    patched["status"]["conditions"].append({"type": "Approved", "status": "True", "reason": "E2E", "message": "m"})
    updated = requests.update(patched, "approval")
    assert [c["type"] for c in updated["status"]["conditions"]] == ["ApprovalPatch", "Approved"]
    pem = base64.b64encode((plane.directory / "ca.crt").read_bytes()).decode()
    signed = requests.patch(name, {"status": {"certificate": pem}}, MERGE, "status")
    assert signed["status"]["certificate"] == pem
    signed["status"]["conditions"].append({"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "m"})
    last = requests.update(signed, "status")
    assert [c["type"] for c in last["status"]["conditions"]] == ["ApprovalPatch", "Approved", "StatusUpdate"]
    with pytest.raises(Refused, match="may not modify existing certificate content"):
        requests.patch(name, {"status": {"certificate": base64.b64encode(b"x").decode()}}, MERGE, "status")
    assert requests.names(fieldSelector=f"spec.signerName=example.com/{space}") == [name]
