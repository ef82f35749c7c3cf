"""A user with few rights tries every way in, and gets nothing that is not his; secrets are told to nobody, least of all
to the log at its most talkative."""

import base64
from typing import Any

import grpc
import orjson
import pytest

from apimachinery import scheme
from protos.kubeto.v1 import apiserver_pb2 as pb
from tests.control_plane import USER_TOKEN
from tests.fuzz.test_bodies import APPLY, JSON, MERGE, STRATEGIC, YAML
from tests.fuzz.test_inside import call, channel  # noqa: F401 - a fixture
from tests.fuzz.test_requests import token_of
from tests.fuzz.victim import Victim
from tests.fuzz.wire import Answer

VALUE = "s3ntinel-Of-A-Secret"
HIDDEN = (VALUE.encode(), base64.b64encode(VALUE.encode())[:20])
SECRET = {"metadata": {"name": "hidden"}, "data": {"k": base64.b64encode(VALUE.encode()).decode()}}
ALICE = (("authorization", f"Bearer {USER_TOKEN}"),)
OWN = "/api/v1/namespaces/alice/configmaps"


def admin(victim: Victim, method: str, path: str, body: Any = None) -> Answer:
    answer = victim.call(method, path, orjson.dumps(body) if body is not None else b"", JSON)
    assert answer.code in (200, 201, 404, 409), answer
    return answer


@pytest.fixture(scope="module")
def estate(victim: Victim) -> Victim:
    """Alice may read config maps in her namespace, and one secret there by its name."""
    for namespace in ("alice", "other"):
        admin(victim, "POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        admin(victim, "POST", f"/api/v1/namespaces/{namespace}/secrets", SECRET)
        admin(
            victim,
            "POST",
            f"/api/v1/namespaces/{namespace}/configmaps",
            {"metadata": {"name": "map"}, "data": {"k": VALUE if namespace == "other" else "v"}},
        )
    own = {"metadata": {"name": "own"}, "data": {"k": "bWluZQ=="}}
    admin(victim, "POST", "/api/v1/namespaces/alice/secrets", own)
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/alice"
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["own"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"], "verbs": ["impersonate"]},
    ]
    admin(victim, "POST", f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": rules})
    binding = {"metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
               "subjects": [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}]}  # fmt: skip
    admin(victim, "POST", f"{rbac}/rolebindings", binding)
    return victim


def ask(victim: Victim, method: str, path: str, body: bytes = b"", headers: Any = (), token: str = USER_TOKEN) -> int:
    """The code; nothing hidden may be in the answer."""
    answer = victim.call(method, path, body, headers, token=token)
    told = answer.body + b"".join(v for _, v in answer.headers)
    assert not any(h in told for h in HIDDEN), (method, path, answer)
    return answer.code


SHAPES = [
    "application/json",
    "application/yaml",
    *(
        f"application/json;as={s};v=v1;g=meta.k8s.io"
        for s in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
    ),
]
SCOPES = ["", "other", "alice", "kube-system", "none"]


def test_every_route_of_every_kind(estate: Victim) -> None:
    assert ask(estate, "GET", OWN) == 200
    for kind in scheme.KINDS:
        for scope in SCOPES if kind.namespaced else [""]:
            if kind.resource in ("configmaps",) and scope == "alice":
                continue
            collection = kind.path(scope)
            for method, path in every_route(kind, collection):
                code = ask(
                    estate,
                    method,
                    path,
                    b'{"metadata":{"name":"hidden"}}' if method in ("POST", "PUT", "PATCH") else b"",
                    MERGE if method == "PATCH" else JSON,
                )
                mine = kind.resource.startswith("selfsubject") and method == "POST"
                unscoped = kind.namespaced and not scope
                assert (
                    code in (401, 403, 404, 405) or (unscoped and code == 400) or (mine and code in (201, 400, 422))
                ), (method, path, code)


def every_route(kind: scheme.Kind, collection: str) -> list[tuple[str, str]]:
    lists = [
        "",
        "?watch=1&timeoutSeconds=-1",
        "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=-1",
        "?limit=1",
        "?resourceVersion=0",
        "?labelSelector=a=b",
    ]
    found = [("GET", collection + q) for q in lists] + [
        ("POST", collection),
        ("DELETE", collection),
        ("DELETE", f"{collection}?labelSelector=x"),
    ]
    for name in ("hidden", "map"):
        found += [
            (m, f"{collection}/{name}{q}")
            for m in ("GET", "HEAD", "PUT", "PATCH", "DELETE")
            for q in ("", "?dryRun=All")
        ]
        found += [
            (m, f"{collection}/{name}/{s}")
            for s in (*kind.subresources, "none")
            for m in ("GET", "POST", "PUT", "PATCH")
        ]
    return found


def test_shapes_and_selectors_show_no_more(estate: Victim) -> None:
    for shape in SHAPES:
        for path in (
            "/api/v1/secrets",
            "/api/v1/namespaces/alice/secrets",
            "/api/v1/namespaces/alice/secrets/hidden",
            "/api/v1/namespaces/other/configmaps",
        ):
            for query in (
                "",
                "?fieldSelector=metadata.name=hidden",
                "?fieldSelector=metadata.name!=own",
                "?includeObject=Object",
                "?watch=1&timeoutSeconds=-1",
            ):
                assert ask(estate, "GET", path + query, headers=[("Accept", shape)]) == 403, (path, query)
    named = "/api/v1/namespaces/alice/secrets?fieldSelector="
    assert ask(estate, "GET", f"{named}metadata.name=own") == 200, "a list of the one name that he has"
    for selector in ("metadata.name=own,metadata.name=hidden", "metadata.name=hidden,metadata.name=own"):
        code = ask(estate, "GET", named + selector)
        assert code in (200, 403)
    assert ask(estate, "DELETE", f"{named}metadata.name=own,type!=x") in (200, 403)
    for query in ("", "?watch=1&timeoutSeconds=-1"):
        assert ask(estate, "GET", "/api/v1/secrets" + query) == 403


def test_continue_tokens_lead_nowhere_else(estate: Victim) -> None:
    for start in ("", "other/", "other/hidden", "../secrets/", "a", "\0", "alice/\0", "alice0"):
        for revision in (-1, 1, 5):
            token = token_of({"v": "meta.k8s.io/v1", "rv": revision, "start": start})
            assert ask(estate, "GET", f"{OWN}?limit=5&continue={token}") in (200, 410)


PATHS = [
    "/api/v1/namespaces/alice/../other/configmaps", "/api/v1/namespaces/alice/configmaps/../../other/configmaps/map", "/api/v1/namespaces/alice//configmaps",
    "/api/v1//namespaces/other/configmaps", "//api/v1/namespaces/other/configmaps", "/api/v1/namespaces/alice/configmaps/..%2f..%2fother%2fconfigmaps%2fmap",
    "/api/v1/namespaces/%6fther/configmaps/map", "/api/v1/namespaces/other%00/configmaps", "/api/v1/namespaces/alice%2f..%2fother/configmaps", "/API/v1/secrets",
    "/api/v1/namespaces/alice/configmaps/map/../../secrets/hidden", "/api/v1/namespaces/alice/secrets/own/../hidden", "/api/v1/watch/secrets", "/api/v1/secrets/", "/api/v1/secrets//hidden",
    "/metrics", "/metrics/", "/docs", "/openapi.json", "/logs/", "/configz", "/debug/pprof/", "/kubeto/v1/namespaces/other/pods/map/explain", "/apis/metrics.k8s.io/v1beta1/nodes",
]  # fmt: skip


def test_paths_that_pretend(estate: Victim) -> None:
    for path in PATHS:
        for method in ("GET", "HEAD", "DELETE", "POST", "PATCH"):
            code = estate.call(
                method, path.encode(), b"{}" if method in ("POST", "PATCH") else b"", MERGE, token=USER_TOKEN
            )
            assert not any(h in code.body for h in HIDDEN), (path, code)
            assert code.code in (0, 301, 307, 400, 403, 404, 405), (method, path, code)


def test_nobody_acts_as_somebody_else(estate: Victim) -> None:
    for headers in (
        [("Impersonate-User", "system:admin")], [("Impersonate-User", "alice"), ("Impersonate-Group", "system:masters")], [("Impersonate-User", "bob")],
        [("Impersonate-User", "system:serviceaccount:kube-system:default")], [("impersonate-user", "system:node:x"), ("impersonate-group", "system:nodes")],
        [("Impersonate-User", "alice"), ("Impersonate-Uid", "1")], [("Impersonate-User", "alice"), ("Impersonate-Extra-Scopes", "x")],
    ):  # fmt: skip
        for path in ("/api/v1/secrets", "/version", OWN):
            assert ask(estate, "GET", path, headers=headers) == 403, headers
    nobody = estate.call(
        "GET", "/api/v1/secrets", headers=[("X-Remote-User", "admin"), ("X-Remote-Group", "system:masters")], token=b""
    )
    assert nobody.code in (401, 403)


def test_strangers_see_health_and_version_only(estate: Victim) -> None:
    for path in ("/healthz", "/livez", "/readyz", "/version"):
        assert ask(estate, "GET", path, token="") == 200
    for path in (
        "/api",
        "/apis",
        "/api/v1",
        "/openapi/v2",
        "/openapi/v3",
        "/metrics",
        "/docs",
        "/",
        "/kubeto/v1/inside",
        "/api/v1/nodes",
        "/.well-known/openid-configuration",
    ):
        assert ask(estate, "GET", path, token="") in (401, 403), path


def test_a_node_has_its_own_only(estate: Victim) -> None:
    admin(estate, "POST", "/api/v1/nodes", {"metadata": {"name": "mine"}})
    admin(estate, "POST", "/api/v1/nodes", {"metadata": {"name": "yours"}})
    admin(estate, "POST", "/api/v1/namespaces/other/serviceaccounts", {"metadata": {"name": "default"}})
    pod = {
        "metadata": {"name": "p"},
        "spec": {
            "nodeName": "yours",
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "secret": {"secretName": "hidden"}}],
        },
    }
    admin(estate, "POST", "/api/v1/namespaces/other/pods", pod)
    node = [
        ("Impersonate-User", "system:node:mine"),
        ("Impersonate-Group", "system:nodes"),
        ("Impersonate-Group", "system:authenticated"),
    ]

    def code(method: str, path: str, body: Any = None, media: Any = JSON) -> int:
        data = orjson.dumps(body) if body is not None else b""
        return ask(estate, method, path, data, [*node, *media], token="admin-token")

    for path in (
        "/api/v1/secrets",
        "/api/v1/namespaces/other/secrets",
        "/api/v1/namespaces/other/secrets/hidden",
        "/api/v1/namespaces/other/configmaps",
        "/api/v1/namespaces/other/configmaps/map",
    ):
        for query in ("", "?watch=1&timeoutSeconds=-1", "?fieldSelector=metadata.name=hidden"):
            assert code("GET", path + query) == 403, path
    assert code("PATCH", "/api/v1/nodes/yours", {"metadata": {"labels": {"a": "b"}}}, MERGE) == 403
    assert code("PATCH", "/api/v1/nodes/yours/status", {"status": {}}, MERGE) == 403
    assert (
        code("PATCH", "/api/v1/nodes/mine", {"metadata": {"labels": {"node-restriction.kubernetes.io/x": "y"}}}, MERGE)
        == 403
    )
    assert code("DELETE", "/api/v1/nodes/yours") == 403
    assert code("DELETE", "/api/v1/namespaces/other/pods/p") == 403
    assert code("PATCH", "/api/v1/namespaces/other/pods/p/status", {"status": {"phase": "Failed"}}, MERGE) == 403
    assert code("PATCH", "/api/v1/namespaces/other/pods/p", {"metadata": {"labels": {"a": "b"}}}, MERGE) == 403
    assert code("POST", "/api/v1/namespaces/other/pods/p/eviction", {"metadata": {"name": "p"}}) == 403
    assert code("POST", "/api/v1/namespaces/other/pods", {**pod, "metadata": {"name": "q"}}) == 403
    assert code("POST", "/api/v1/namespaces/other/serviceaccounts/default/token", {"spec": {}}) == 403
    assert code("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {"metadata": {"name": "x"}}) == 403
    lease = {"metadata": {"name": "yours", "namespace": "kube-node-lease"}, "spec": {}}
    assert code("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", lease) == 403


def test_the_inside_grpc_has_no_back_door(estate: Victim, channel: grpc.Channel) -> None:  # noqa: F811
    secrets = pb.Resource(version="v1", resource="secrets")
    ref = pb.ObjectRef(resource=secrets, namespace="other", name="hidden")
    denied = grpc.StatusCode.PERMISSION_DENIED
    assert call(channel, "Get", pb.GetRequest(ref=ref, resource_version="0").SerializeToString(), ALICE)[0] is denied
    for namespace in ("", "other", "alice"):
        for selector in ("", "metadata.name=hidden"):
            selection = pb.Selection(resource=secrets, namespace=namespace, field_selector=selector)
            assert call(channel, "List", pb.ListRequest(selection=selection).SerializeToString(), ALICE)[0] is denied
    writes = [pb.Write(verb=v, ref=r, body=b'{"metadata":{"name":"hidden"}}', patch_type=MERGE[0][1], dry_run=d)
              for v in (0, 1, 2, 3, 4) for r in (ref, pb.ObjectRef(resource=secrets, namespace="other")) for d in (True, False)]  # fmt: skip
    code, reply = call(channel, "Write", pb.WriteRequest(writes=writes).SerializeToString(), ALICE)
    assert code is grpc.StatusCode.OK
    assert all(orjson.loads(r.error)["code"] in (400, 403, 404) for r in pb.WriteReply.FromString(reply).results), reply
    _, reply = call(
        channel,
        "Bind",
        pb.BindRequest(bindings=[pb.Binding(namespace="other", pod="p", node="n")]).SerializeToString(),
        ALICE,
    )
    assert all(orjson.loads(e)["code"] == 403 for e in pb.BindReply.FromString(reply).errors)
    opens = [
        pb.WatchRequest(id=1, open=pb.Selection(resource=secrets)),
        pb.WatchRequest(id=2, open=pb.Selection(resource=secrets, namespace="alice"), resource_version="1"),
    ]
    stream = channel.stream_stream("/kubeto.v1.ApiServer/Watch")(
        iter([o.SerializeToString() for o in opens]), metadata=ALICE, timeout=10
    )
    events = [e for data in stream for e in pb.WatchReply.FromString(data).events]
    assert all(e.type == pb.WatchEvent.ERROR and orjson.loads(e.json)["code"] == 403 for e in events), events


def test_secrets_are_in_no_log_and_no_error(estate: Victim) -> None:
    """Written in every form, rightly and wrongly, by who may."""
    secrets = "/api/v1/namespaces/other/secrets"
    plain, encoded = VALUE, SECRET["data"]["k"]  # type: ignore[index]
    for body, media in (
        ({"metadata": {"name": "a"}, "stringData": {"k": plain}}, JSON), ({"metadata": {"name": "b"}, "data": {"k": encoded}}, YAML), ({"metadata": {"name": "c"}, "data": {"k": plain}}, JSON),
        ({"metadata": {"name": "d"}, "data": {"k": [plain]}}, JSON), ({"metadata": {"name": "NO NAME"}, "data": {"k": encoded}}, JSON), ({"metadata": {"name": "e"}, "type": "kubernetes.io/tls", "data": {"k": encoded}}, JSON),
        ({"metadata": {"name": "f"}, "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": encoded}}, JSON), ({"metadata": {"name": "g"}, "data": plain}, JSON),
        ({"metadata": {"name": "h"}, "immutable": True, "data": {"k": encoded}}, JSON), ({"metadata": {"name": "i"}, "stringData": {"k k": plain}}, JSON),
    ):  # fmt: skip
        answer = estate.call("POST", secrets, orjson.dumps(body), media)
        if answer.code >= 400:
            assert not any(h in answer.body for h in HIDDEN), answer
    for media in (MERGE, STRATEGIC, APPLY):
        for change in (
            {"data": {"k": encoded + "="}},
            {"data": {"x": encoded}},
            {"stringData": {"k": plain}},
        ):
            data = orjson.dumps({"apiVersion": "v1", "kind": "Secret", **change})
            answer = estate.call("PATCH", f"{secrets}/h?fieldManager=f", data, media)
            if answer.code >= 400 and "patch:" not in answer.json["message"]:
                assert not any(h in answer.body for h in HIDDEN), answer
    estate.call("GET", "/api/v1/nodes", token=f"{VALUE}.x.y")
    estate.call("GET", f"/api/v1/nodes?token={VALUE}x", token="")
    log = estate.server.program.log.read_bytes()
    assert not any(h in log for h in HIDDEN)
    assert b"admin-token" not in log and USER_TOKEN.encode() not in log
