"""The environment of a container, and how text is expanded with it."""

import base64
from typing import Any

import pytest

from node.agent.downward import ConfigError, PodFacts
from node.agent.environment import make_environment
from node.agent.expansion import expand

Object = dict[str, Any]


class Source:
    async def config_map(self, namespace: str, name: str) -> Object | None:
        return {"data": {"k": "v"}} if name == "cm" else None

    async def secret(self, namespace: str, name: str) -> Object | None:
        return {"data": {"pw": base64.b64encode(b"s").decode()}} if name == "sec" else None


def facts(**spec: Any) -> PodFacts:
    pod = {"metadata": {"name": "p", "namespace": "ns", "labels": {"a": "b"}}, "spec": {"containers": [], **spec}}
    return PodFacts(pod, ["10.0.0.1"], ["1.1.1.1"])


def service(name: str, namespace: str) -> Object:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": "10.9.0.1", "ports": [{"port": 80}]},
    }


async def make(*env: Object, env_from: tuple[Object, ...] = (), given: PodFacts | None = None) -> dict[str, str]:
    container = {"name": "c", "env": list(env), "envFrom": list(env_from)}
    services = [service("web-app", "ns"), service("other", "x"), service("kubernetes", "default")]
    return await make_environment(given or facts(), container, Source(), services)


@pytest.mark.parametrize(
    ("text", "out"),
    [("$(A)", "1"), ("$$(A)", "$(A)"), ("$(NO)", "$(NO)"), ("x$(A)y$(A)", "x1y1"), ("$(A", "$(A"), ("$$$(A)", "$1")],
)
def test_expansion(text: str, out: str) -> None:
    assert expand(text, {"A": "1"}) == out


async def test_later_values_see_earlier_ones_only() -> None:
    env = await make({"name": "A", "value": "$(B)"}, {"name": "B", "value": "2"}, {"name": "C", "value": "$(B)"})
    assert (env["A"], env["C"]) == ("$(B)", "2")


async def test_service_links_are_of_the_namespace_and_the_api_server() -> None:
    env = await make()
    assert env["WEB_APP_SERVICE_HOST"] == env["KUBERNETES_SERVICE_HOST"] == "10.9.0.1"
    assert env["WEB_APP_PORT_80_TCP"] == "tcp://10.9.0.1:80"
    assert "OTHER_SERVICE_HOST" not in env
    env = await make(given=facts(enableServiceLinks=False))
    assert "WEB_APP_SERVICE_HOST" not in env
    assert "KUBERNETES_SERVICE_HOST" in env


async def test_values_from_objects_and_fields() -> None:
    env = await make(
        {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
        {"name": "O", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}},
        env_from=({"prefix": "S_", "secretRef": {"name": "sec"}},),
    )
    assert (env["K"], env["IP"], env["L"], env["S_pw"]) == ("v", "10.0.0.1", "b", "s")
    assert "O" not in env


async def test_what_is_missing_is_an_error_in_upstreams_words() -> None:
    with pytest.raises(ConfigError, match='configmap "no" not found'):
        await make({"name": "K", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "k"}}})
    with pytest.raises(ConfigError, match="couldn't find key x in ConfigMap ns/cm"):
        await make({"name": "K", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "x"}}})
