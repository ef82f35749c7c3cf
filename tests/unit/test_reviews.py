"""Review kinds, token requests and issuer discovery, over one set-up."""

from pathlib import Path
from typing import Any

import pytest

from apimachinery import pki, scheme
from apimachinery.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound
from master.apiserver.auth import bootstrap, openid
from master.apiserver.auth.setup import Auth, AuthConfig, build
from master.apiserver.auth.user import User
from master.apiserver.registry.answers import Question, WriteOptions
from tests.memory_reader import MemoryReader

JO = User("jo", "u", ("dev", "system:authenticated"))
NODE = User("system:node:n1", groups=("system:nodes", "system:authenticated"))


class Cluster:
    def __init__(self, auth: Auth, reader: MemoryReader) -> None:
        self.auth, self.reader = auth, reader

    async def ask(
        self, resource: str, spec: dict[str, Any], *, user: User = JO, namespace: str = "", name: str = ""
    ) -> Any:
        group, _, resource = resource.rpartition("/")
        subresource = "token" if resource == "serviceaccounts" else ""
        question = Question(
            user, scheme.kind_of(resource, group), subresource, namespace, name, {"spec": spec}, WriteOptions()
        )
        return (await self.auth.answers[group, resource, subresource](question))["status"]

    async def token(self, spec: dict[str, Any], user: User = JO, name: str = "sa") -> Any:
        return await self.ask("serviceaccounts", spec, user=user, namespace="a", name=name)


@pytest.fixture
async def cluster(tmp_path: Path) -> Cluster:
    pki.ensure_key(tmp_path / "sa.key")
    reader = MemoryReader()
    await bootstrap.ensure_rbac_defaults(reader, reader)
    reader.put(scheme.SERVICE_ACCOUNTS, {"metadata": {"namespace": "a", "name": "sa"}})
    reader.put(scheme.NODES, {"metadata": {"name": "n1"}})
    spec = {"serviceAccountName": "sa", "nodeName": "n1"}
    reader.put(scheme.PODS, {"metadata": {"namespace": "a", "name": "p", "uid": "pu"}, "spec": spec})
    config = AuthConfig(service_account_signing_key_file=str(tmp_path / "sa.key"))
    return Cluster(build(config, reader), reader)


async def test_access_reviews(cluster: Cluster) -> None:
    pods = {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "a"}}
    review = "authorization.k8s.io/subjectaccessreviews"
    assert await cluster.ask(review, pods | {"user": "ad", "groups": ["system:masters"]}) == {"allowed": True}
    assert await cluster.ask(review, pods | {"user": "jo"}) == {"allowed": False}
    path = {"nonResourceAttributes": {"verb": "get", "path": "/api"}}
    reason = 'RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group '
    allowed = {"allowed": True, "reason": reason + '"system:authenticated"'}
    assert await cluster.ask("authorization.k8s.io/selfsubjectaccessreviews", path) == allowed
    with pytest.raises(Invalid, match="exactly one of"):
        await cluster.ask(review, {"user": "jo"})
    with pytest.raises(Invalid, match=r"spec.resourceAttributes.namespace"):
        await cluster.ask("authorization.k8s.io/localsubjectaccessreviews", pods | {"user": "jo"}, namespace="b")


async def test_self_reviews(cluster: Cluster) -> None:
    status = await cluster.ask("authentication.k8s.io/selfsubjectreviews", {})
    assert status["userInfo"] == {"username": "jo", "uid": "u", "groups": ["dev", "system:authenticated"]}
    rules = await cluster.ask("authorization.k8s.io/selfsubjectrulesreviews", {"namespace": "a"})
    assert any("/api" in rule["nonResourceURLs"] for rule in rules["nonResourceRules"])
    assert any("selfsubjectreviews" in rule["resources"] for rule in rules["resourceRules"])


async def test_a_pod_token_and_its_review(cluster: Cluster) -> None:
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "pu"}
    status = await cluster.token({"boundObjectRef": ref, "expirationSeconds": 3607}, NODE)
    reviewed = await cluster.ask("authentication.k8s.io/tokenreviews", {"token": status["token"]})
    assert reviewed["authenticated"] and reviewed["user"]["username"] == "system:serviceaccount:a:sa"
    extra = reviewed["user"]["extra"]
    assert extra["authentication.kubernetes.io/pod-uid"] == ["pu"]
    assert extra["authentication.kubernetes.io/node-name"] == ["n1"]
    assert "authentication.kubernetes.io/node-uid" in extra
    assert not (await cluster.ask("authentication.k8s.io/tokenreviews", {"token": "x"}))["authenticated"]


@pytest.mark.parametrize(
    ("spec", "user", "error"),
    [
        ({"expirationSeconds": 599}, JO, Invalid),
        ({}, NODE, Forbidden),
        ({"boundObjectRef": {"kind": "Pod", "name": "p"}}, User("system:node:n2", groups=("system:nodes",)), Forbidden),
        ({"boundObjectRef": {"kind": "Pod", "name": "p", "uid": "other"}}, JO, Conflict),
        ({"boundObjectRef": {"kind": "Pod", "name": "gone"}}, JO, NotFound),
        ({"boundObjectRef": {"kind": "ConfigMap", "name": "x"}}, JO, BadRequest),
    ],
)
async def test_refused_token_requests(
    cluster: Cluster, spec: dict[str, Any], user: User, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await cluster.token(spec, user)


async def test_a_pod_of_another_account(cluster: Cluster) -> None:
    cluster.reader.put(scheme.SERVICE_ACCOUNTS, {"metadata": {"namespace": "a", "name": "other"}})
    with pytest.raises(BadRequest, match="different serviceaccount"):
        await cluster.token({"boundObjectRef": {"kind": "Pod", "name": "p"}}, name="other")


async def test_discovery_documents(cluster: Cluster) -> None:
    _, document = cluster.auth.documents[openid.CONFIGURATION_PATH]
    assert document["jwks_uri"] == document["issuer"] + openid.JWKS_PATH
    _, keys = cluster.auth.documents[openid.JWKS_PATH]
    assert [key["alg"] for key in keys["keys"]] == ["ES256"]
