"""What the executor decides before any kernel is involved."""

import json
import stat
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from cni import conflist, hostports
from cni.executor import CniNetwork
from cni.ipam.allocator import RangeFull, next_free
from cni.spec import CniError, Request

NETWORK = IPv4Network("10.0.0.0/29")


def test_an_address_just_freed_rests_longest() -> None:
    taken = {IPv4Address("10.0.0.3")}
    assert next_free(NETWORK, taken, IPv4Address("10.0.0.2")) == IPv4Address("10.0.0.4")
    assert next_free(NETWORK, taken, IPv4Address("10.0.0.6")) == IPv4Address("10.0.0.2")
    assert next_free(NETWORK, taken, IPv4Address("9.9.9.9")) == IPv4Address("10.0.0.2")
    with pytest.raises(RangeFull):
        next_free(NETWORK, list(NETWORK.hosts()), None)


def test_the_first_valid_file_is_in_force_and_changes_are_seen(tmp_path: Path) -> None:
    folder = conflist.Folder(str(tmp_path))
    with pytest.raises(CniError, match="no network configuration"):
        folder.current()
    (tmp_path / "00-broken.conflist").write_text("{")
    (tmp_path / "20-b.conf").write_text('{"cniVersion": "1.0.0", "name": "b", "type": "bridge"}')
    assert folder.current().name == "b"
    (tmp_path / "10-a.conflist").write_text(
        '{"cniVersion": "0.1.0", "cniVersions": ["1.0.0", "1.1.0"], "name": "a", "plugins": [{"type": "x"}]}'
    )
    assert (folder.current().name, folder.current().version) == ("a", "1.1.0")


@pytest.mark.parametrize(
    "raw",
    [
        {"cniVersion": "1.0.0", "plugins": [{"type": "x"}]},
        {"cniVersion": "1.0.0", "name": "n", "plugins": []},
        {"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "../x"}]},
        {"cniVersion": "9.0.0", "name": "n", "plugins": [{"type": "x"}]},
    ],
)
def test_a_malformed_network_is_refused(raw: conflist.Object) -> None:
    with pytest.raises(CniError):
        conflist.parse(raw)


def test_requests_are_checked() -> None:
    good = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "a",
        "CNI_NETNS": "/n",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "A=1;B=2",
    }
    request = Request.from_environment(good, {})
    assert request.args == {"A": "1", "B": "2"}
    assert Request.from_environment(request.environment(), {}) == request
    for name, bad in (("CNI_CONTAINERID", "../a"), ("CNI_IFNAME", "a b"), ("CNI_NETNS", "")):
        with pytest.raises(CniError):
            Request.from_environment({**good, name: bad}, {})


def test_port_mappings() -> None:
    entries = [{"containerPort": 80}, {"hostPort": 8080, "containerPort": 80, "hostIP": "0.0.0.0", "protocol": "UDP"}]
    assert [mapping.element() for mapping in hostports.parse(entries)] == [("any", "udp . 8080")]
    with pytest.raises(CniError, match="protocol"):
        hostports.parse([{"hostPort": 1, "protocol": "icmp"}])


def plugin(folder: Path, name: str, body: str) -> None:
    """An executable that appends what it was asked to ``log`` and then runs ``body``."""
    file = folder / name
    file.write_text(f'#!/bin/sh\nread -r conf; echo "$CNI_COMMAND {name} $conf" >> {folder}/log\n{body}\n')
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def network(tmp_path: Path) -> CniNetwork:
    plugins = [{"type": "one", "capabilities": {"portMappings": True, "other": True}}, {"type": "two"}]
    conf = {"cniVersion": "1.0.0", "name": "net", "plugins": plugins}
    (tmp_path / "a.conflist").write_text(json.dumps(conf))
    return CniNetwork(str(tmp_path), [str(tmp_path)], str(tmp_path / "cache"))


def calls(tmp_path: Path) -> list[tuple[str, conflist.Object]]:
    lines = (line.split(" ", 2) for line in (tmp_path / "log").read_text().splitlines())
    return [(f"{command} {name}", json.loads(conf)) for command, name, conf in lines]


async def test_plugins_are_chained_and_undone_in_reverse(network: CniNetwork, tmp_path: Path) -> None:
    plugin(tmp_path, "one", """echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}'""")
    plugin(tmp_path, "two", """echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.9/24"}]}'""")
    result = await network.add("c", "/n", "eth0", {"K": "V"}, {"portMappings": [1], "bandwidth": 2})
    assert result.ips == ["10.0.0.9"]
    (tmp_path / "a.conflist").unlink()
    await network.delete("c", "/n", "eth0", {}, {})
    (first, a), (second, b), (third, c), (fourth, d) = calls(tmp_path)
    assert [first, second, third, fourth] == ["ADD one", "ADD two", "DEL two", "DEL one"]
    assert "prevResult" not in a
    assert a["runtimeConfig"] == d["runtimeConfig"] == {"portMappings": [1]}
    assert b["prevResult"]["ips"][0]["address"] == "10.0.0.2/24"
    assert c["prevResult"] == d["prevResult"] == result.raw


async def test_a_failed_add_is_undone_and_says_why(network: CniNetwork, tmp_path: Path) -> None:
    plugin(tmp_path, "one", """echo '{"cniVersion":"1.0.0"}'""")
    plugin(
        tmp_path,
        "two",
        """[ $CNI_COMMAND = DEL ] || { echo '{"code":7,"msg":"no","details":"port taken"}'; exit 1; }""",
    )
    with pytest.raises(CniError, match="no: port taken") as refused:
        await network.add("c", "/n", "eth0", {}, {})
    assert refused.value.code == 7
    assert [call for call, _ in calls(tmp_path)] == ["ADD one", "ADD two", "DEL two", "DEL one"]
    assert not list((tmp_path / "cache" / "results").iterdir())


async def test_status_names_a_plugin_that_is_not_installed(network: CniNetwork, tmp_path: Path) -> None:
    plugin(tmp_path, "one", "")
    assert "two is not installed" in await network.status()


async def test_gc_and_delete_need_no_configuration(network: CniNetwork, tmp_path: Path) -> None:
    """A runtime may collect before the node has its pod range."""
    plugin(tmp_path, "one", """echo '{"cniVersion":"1.0.0"}'""")
    plugin(tmp_path, "two", """echo '{"cniVersion":"1.0.0"}'""")
    await network.add("c", "/n", "eth0", {}, {})
    (tmp_path / "a.conflist").unlink()
    await network.gc(set())
    assert [call for call, _ in calls(tmp_path)][2:] == ["DEL two", "DEL one"]
    await network.gc(set())
    await network.delete("c", "/n", "eth0", {}, {})
    assert len(calls(tmp_path)) == 4


async def test_an_attachment_that_cannot_be_recorded_is_refused(network: CniNetwork, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(CniError, match="cannot be recorded"):
        await network.add("c", "/n", "eth0", {}, {})
