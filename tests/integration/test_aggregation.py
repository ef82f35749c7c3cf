"""Aggregated APIs, through a real API server to another one in this process; and front proxies that come to us."""

import base64
import contextlib
import json
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.control_plane import ADMIN_TOKEN, USER_TOKEN, ApiServerProgram
from tests.fakes.aggregated import GROUP, ROOT, VERSION, AggregatedServer, Object
from tests.fakes.webhook import own_address
from tests.waiting import eventually

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
NAME = f"{VERSION}.{GROUP}"
FLUNDERS = f"{ROOT}/namespaces/default/flunders"


def available(api: ApiServerProgram, name: str = NAME) -> Object:
    found = api.request("GET", f"{SERVICES}/{name}").json
    conditions = (found.get("status") or {}).get("conditions") or [{}]
    return conditions[0] if conditions[0].get("type") == "Available" else {}


def registration(server: AggregatedServer | None, **spec: Any) -> Object:
    bundle = {"caBundle": base64.b64encode(server.ca.pem).decode()} if server else {}
    service = {"namespace": "wardle", "name": "api", "port": 7443}
    wanted = {"group": GROUP, "version": VERSION, "groupPriorityMinimum": 2000, "versionPriority": 200}
    return {"metadata": {"name": NAME}, "spec": {**wanted, "service": service, **bundle, **spec}}


@pytest.fixture(scope="module")
def server(apiserver: ApiServerProgram, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AggregatedServer]:
    """Registered, and found to be available step by step."""

    def may_do(spec: Object) -> bool:
        review = {"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": spec}
        answer = apiserver.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer.json["status"]["allowed"])

    running = AggregatedServer(tmp_path_factory.mktemp("wardle"), apiserver.front_proxy_ca.path, may_do)

    def becomes(reason: str) -> Object:
        return dict(eventually(lambda: (c := available(apiserver)).get("reason") == reason and c))

    assert apiserver.request("POST", SERVICES, registration(running)).code == 201
    assert becomes("ServiceNotFound")["message"] == 'service/api in "wardle" is not present'
    assert apiserver.request("GET", FLUNDERS).code == 503
    apiserver.request("POST", "/api/v1/namespaces", {"metadata": {"name": "wardle"}})
    ports = [{"port": 443, "targetPort": 1}]
    service = {"metadata": {"name": "api"}, "spec": {"ports": ports}}
    apiserver.request("POST", "/api/v1/namespaces/wardle/services", service)
    assert becomes("ServicePortError")["message"] == 'service/api in "wardle" is not listening on port 7443'
    patch = [{"op": "replace", "path": "/spec/ports/0/port", "value": 7443}]
    headers = {"Content-Type": "application/json-patch+json"}
    apiserver.request("PATCH", "/api/v1/namespaces/wardle/services/api", patch, headers=headers)
    assert becomes("EndpointsNotFound")["message"] == 'cannot find endpointslices for service/api in "wardle"'
    slices = "/apis/discovery.k8s.io/v1/namespaces/wardle/endpointslices"
    piece: Object = {
        "metadata": {"name": "api-1", "labels": {"kubernetes.io/service-name": "api"}},
        "addressType": "IPv4",
        "endpoints": [],
        "ports": [{"port": running.port}],
    }
    assert apiserver.request("POST", slices, piece).code == 201
    assert "have no addresses with port name" in becomes("MissingEndpoints")["message"]
    patch = [{"op": "add", "path": "/endpoints", "value": [{"addresses": [own_address()]}]}]
    assert apiserver.request("PATCH", f"{slices}/api-1", patch, headers=headers).code == 200
    assert becomes("Passed") | {"lastTransitionTime": ""} == {
        "type": "Available",
        "status": "True",
        "reason": "Passed",
        "message": "all checks passed",
        "lastTransitionTime": "",
    }
    yield running
    apiserver.request("DELETE", f"{SERVICES}/{NAME}")
    running.close()


def test_built_in_groups_are_local(apiserver: ApiServerProgram) -> None:
    names = ("v1.", "v1.apps", "v2.autoscaling", "v1.rbac.authorization.k8s.io", "v1beta1.metrics.k8s.io")
    for name in names:
        told = eventually(lambda name=name: available(apiserver, name))
        assert (told["status"], told["reason"]) == ("True", "Local")
        assert told["message"] == "Local APIServices are always available"
    rows = apiserver.kubectl("get", "apiservices").splitlines()
    assert next(r for r in rows if r.startswith("v1.apps ")).split()[1:3] == ["Local", "True"]
    spec = apiserver.request("GET", f"{SERVICES}/v1.apps").json["spec"]
    assert spec == {"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15}


def test_a_custom_group_has_its_api_service(apiserver: ApiServerProgram) -> None:
    names = {"plural": "gadgets", "kind": "Gadget"}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}]
    spec = {"group": "gadgets.example.com", "scope": "Namespaced", "names": names, "versions": versions}
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    made = {"metadata": {"name": "gadgets.gadgets.example.com"}, "spec": spec}
    assert apiserver.request("POST", definitions, made).code == 201
    one = f"{SERVICES}/v1.gadgets.example.com"
    assert eventually(lambda: apiserver.request("GET", one).json.get("spec"))["groupPriorityMinimum"] == 1000
    apiserver.request("DELETE", one)
    eventually(lambda: apiserver.request("GET", one).code == 200)
    apiserver.request("DELETE", f"{definitions}/gadgets.gadgets.example.com")
    eventually(lambda: apiserver.request("GET", one).code == 404)


def test_requests_carry_the_user_and_no_credentials(apiserver: ApiServerProgram, server: AggregatedServer) -> None:
    server.requests.clear()
    flunder = {"kind": "Flunder", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {"name": "a"}, "spec": "x" * 200_000}
    headers = {"X-Remote-User": "somebody-else", "X-Remote-Extra-Scope": "all"}
    assert apiserver.request("POST", FLUNDERS, flunder, headers=headers).json == flunder
    ((method, path, sent),) = server.requests
    assert (method, path) == ("POST", FLUNDERS)
    names = [(n.lower(), v) for n, v in sent]
    assert ("x-remote-user", "admin") in names and ("x-remote-uid", "1") in names
    assert {v for n, v in names if n == "x-remote-group"} == {"system:masters", "system:authenticated"}
    assert not [n for n, _ in names if n in ("authorization", "x-remote-extra-scope")]
    assert apiserver.request("GET", f"{FLUNDERS}/a?pretty=true").json == flunder
    assert server.requests[-1][1] == f"{FLUNDERS}/a?pretty=true"
    missing = apiserver.request("GET", f"{FLUNDERS}/missing")
    assert (missing.code, missing.json["message"]) == (404, f'flunders.{GROUP} "missing" not found')
    assert apiserver.request("DELETE", f"{FLUNDERS}/a").code == 200


def test_rights_are_asked_here_and_there(apiserver: ApiServerProgram, server: AggregatedServer) -> None:
    refused = apiserver.request("GET", FLUNDERS, token=USER_TOKEN)
    assert refused.code == 403
    assert f'User "alice" cannot list resource "flunders" in API group "{GROUP}"' in refused.json["message"]
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    rule = {"apiGroups": [GROUP], "resources": ["flunders"], "verbs": ["get", "list"]}
    apiserver.request("POST", f"{rbac}/clusterroles", {"metadata": {"name": "flunders"}, "rules": [rule]})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "flunders"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}
    binding = {"metadata": {"name": "flunders"}, "roleRef": role, "subjects": [subject]}
    assert apiserver.request("POST", f"{rbac}/clusterrolebindings", binding).code == 201
    eventually(lambda: apiserver.request("GET", FLUNDERS, token=USER_TOKEN).code == 200)
    assert apiserver.request("DELETE", f"{FLUNDERS}/a", token=USER_TOKEN).code == 403


def test_discovery(apiserver: ApiServerProgram, server: AggregatedServer) -> None:
    groups = apiserver.request("GET", "/apis").json["groups"]
    found = next(g for g in groups if g["name"] == GROUP)
    assert found["preferredVersion"] == {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
    assert apiserver.request("GET", f"/apis/{GROUP}").json["versions"] == found["versions"]
    assert apiserver.request("GET", ROOT).json["resources"][0]["name"] == "flunders"
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    groups = apiserver.request("GET", "/apis", headers={"Accept": accept}).json["items"]
    (version,) = next(g for g in groups if g["metadata"]["name"] == GROUP)["versions"]
    (resource,) = version["resources"]
    assert version["freshness"] == "Current" and resource["responseKind"]["kind"] == "Flunder"
    assert resource["subresources"][0]["subresource"] == "status" and resource["scope"] == "Namespaced"
    rows = apiserver.kubectl("api-resources", f"--api-group={GROUP}")
    assert rows.splitlines()[1].split() == ["flunders", "fl", f"{GROUP}/{VERSION}", "true", "Flunder"]


def test_openapi(apiserver: ApiServerProgram, server: AggregatedServer) -> None:
    whole = apiserver.request("GET", "/openapi/v2").json
    assert f"{ROOT}/namespaces/{{namespace}}/flunders" in whole["paths"]
    assert whole["definitions"][f"com.example.{GROUP}.{VERSION}.Flunder"]["description"] == "Flunder is made for tests."
    assert "io.k8s.api.core.v1.Pod" in whole["definitions"]
    name = f"apis/{GROUP}/{VERSION}"
    assert name in apiserver.request("GET", "/openapi/v3").json["paths"]
    newer = apiserver.request("GET", f"/openapi/v3/{name}").json
    assert (
        "#/definitions/" not in json.dumps(newer)
        and newer["components"]["schemas"].keys() <= whole["definitions"].keys()
    )
    listed = newer["paths"][f"{ROOT}/namespaces/{{namespace}}/flunders"]["get"]
    assert listed["parameters"] == [
        {"name": "limit", "in": "query", "schema": {"type": "integer", "uniqueItems": True}}
    ]
    assert listed["responses"]["200"]["content"].keys() == {"application/json", "application/yaml"}
    assert "Flunder is made for tests." in apiserver.kubectl("explain", "flunders")


def test_kubectl_and_a_watch(apiserver: ApiServerProgram, server: AggregatedServer) -> None:
    server.flunders.clear()
    flunder = {"kind": "Flunder", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {"name": "a", "namespace": "default"}}
    apiserver.kubectl("create", "--validate=false", "-f", "-", stdin=json.dumps(flunder))
    assert apiserver.kubectl("get", "flunders", "-o", "name") == f"flunder.{GROUP}/a\n"
    request = urllib.request.Request(f"{apiserver.url}{FLUNDERS}?watch=true")
    request.add_header("Authorization", f"Bearer {ADMIN_TOKEN}")
    context = ssl.create_default_context(cafile=apiserver.ca_file)
    with urllib.request.urlopen(request, timeout=10, context=context) as stream:
        assert json.loads(stream.readline())["object"]["metadata"]["name"] == "a"
        apiserver.request("POST", FLUNDERS, flunder | {"metadata": {"name": "b"}})
        assert json.loads(stream.readline())["object"]["metadata"]["name"] == "b"


def test_another_protocol_over_the_same_connection(apiserver: ApiServerProgram, server: AggregatedServer) -> None:
    context = ssl.create_default_context(cafile=apiserver.ca_file)
    with contextlib.closing(
        context.wrap_socket(socket.create_connection(("127.0.0.1", apiserver.port)), server_hostname="localhost")
    ) as connection:
        lines = [f"GET {FLUNDERS}/a HTTP/1.1", "Host: x", f"Authorization: Bearer {ADMIN_TOKEN}"]
        lines += ["Connection: Upgrade", "Upgrade: echo", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        reader = connection.makefile("rb")
        assert reader.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
        while reader.readline() != b"\r\n":
            continue
        for text in (b"hello\n", b"again\n"):
            connection.sendall(text)
            assert reader.readline() == text.upper()


def test_a_wrong_certificate_is_not_accepted(apiserver: ApiServerProgram, server: AggregatedServer) -> None:
    """The check does not look at the certificate, requests do."""
    headers = {"Content-Type": "application/merge-patch+json"}
    other = base64.b64encode(apiserver.front_proxy_ca.pem).decode()
    apiserver.request("PATCH", f"{SERVICES}/{NAME}", {"spec": {"caBundle": other}}, headers=headers)
    eventually(lambda: apiserver.request("GET", FLUNDERS).code == 503)
    insecure = {"spec": {"caBundle": None, "insecureSkipTLSVerify": True}}
    apiserver.request("PATCH", f"{SERVICES}/{NAME}", insecure, headers=headers)
    eventually(lambda: apiserver.request("GET", FLUNDERS).code == 200)


def test_broken_registrations_are_refused(apiserver: ApiServerProgram) -> None:
    cases: list[tuple[Object, str]] = [
        ({"group": "other.example.com"}, 'must be `spec.version+"."+spec.group`'),
        ({"groupPriorityMinimum": 0}, "must be positive and less than 20000"),
        ({"service": None, "caBundle": "YQ=="}, "local APIServices may not have a caBundle"),
        ({"service": {"name": "a"}}, "spec.service.namespace: Required value"),
        ({"insecureSkipTLSVerify": True, "caBundle": "YQ=="}, "may not be true if caBundle is present"),
    ]
    for spec, why in cases:
        refused = apiserver.request("POST", SERVICES, registration(None, **spec))
        assert refused.code == 422 and why in refused.json["message"], refused.text


def test_the_config_map_tells_how_we_are_known(apiserver: ApiServerProgram) -> None:
    path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    data = apiserver.request("GET", path).json["data"]
    assert data["requestheader-client-ca-file"] == apiserver.front_proxy_ca.pem.decode()
    assert data["requestheader-allowed-names"] == '["front-proxy-client"]'
    assert data["requestheader-username-headers"] == '["X-Remote-User"]'
    assert data["requestheader-extra-headers-prefix"] == '["X-Remote-Extra-"]'


def test_a_front_proxy_names_users(apiserver: ApiServerProgram) -> None:
    def who(certificate: Any, **headers: str) -> tuple[int, Any]:
        url = f"{apiserver.url}/apis/authentication.k8s.io/v1/selfsubjectreviews"
        command = ["curl", "-s", "--cacert", apiserver.ca_file, "-w", "\n%{http_code}", url, "-d", "{}"]
        command += ["--cert", str(certificate.certificate_path), "--key", str(certificate.key_path)]
        command += [a for k, v in headers.items() for a in ("-H", f"{k.replace('_', '-')}: {v}")]
        text, _, code = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.rpartition("\n")
        return int(code), json.loads(text)

    told = {"X_Remote_User": "carol", "X_Remote_Group": "system:masters", "X_Remote_Extra_Acme.com%2Fscope": "a"}
    code, review = who(apiserver.front_proxy, **told)
    info = review["status"]["userInfo"]
    assert (code, info["username"]) == (201, "carol")
    assert info["groups"] == ["system:masters", "system:authenticated"]
    assert info["extra"] == {"acme.com/scope": ["a"]}
    code, refusal = who(apiserver.front_proxy)
    assert code == 403 and "system:anonymous" in refusal["message"], "its certificate is no user's"
    other = apiserver.front_proxy_ca.ensure_client(apiserver.directory / "other-proxy", "other-proxy")
    code, refusal = who(other, **told)
    assert code == 403 and "system:anonymous" in refusal["message"], "its name is not allowed"
    admin = apiserver.directory / "admin"
    pair = type("Pair", (), {"certificate_path": f"{admin}.crt", "key_path": f"{admin}.key"})
    assert who(pair, **told)[1]["status"]["userInfo"]["username"] == "kubernetes-admin"
