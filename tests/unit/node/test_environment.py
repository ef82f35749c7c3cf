"""The environment of a container, and how text is expanded with it."""

import base64
from pathlib import Path
from typing import Any

import pytest

from node.agent.downward import ConfigError, PodFacts
from node.agent.env_files import parse, value
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


def test_a_file_of_variables() -> None:
    text = "# all\n\n  A='1'\nB='two # no comment\nlines' # one\nC= 'nothing'\nD=\nA='later'\nE=''"
    assert parse(text) == {"A": "1", "B": "two # no comment\nlines", "C": "", "D": "", "E": ""}
    for broken, line in (("A=1", 1), ("A='1'\nB ='2'", 2), ("no sign", 1), ("A='open", 1), ("A='1' x", 1)):
        with pytest.raises(ValueError, match=f"line {line}"):
            parse(broken)


def test_a_variable_from_a_file_that_stays_in_its_volume(tmp_path: Path) -> None:
    volume, outside = tmp_path / "v", tmp_path / "secret"
    volume.mkdir()
    outside.write_text("A='stolen'")
    (volume / "link").symlink_to(outside)
    (volume / "env").write_text("A='mine'")
    volumes = {"v": str(volume)}
    assert value(volumes, {"volumeName": "v", "path": "env", "key": "A"}) == "mine"
    assert value(volumes, {"volumeName": "v", "path": "none", "key": "A", "optional": True}) is None
    for path, key in (("link", "A"), ("../secret", "A"), ("env", "B"), ("none", "A")):
        with pytest.raises(ConfigError):
            value(volumes, {"volumeName": "v", "path": path, "key": key})
