"""The cluster's certificates: kept while they fit, made anew when they do not, and accepted by TLS."""

import asyncio
import ssl
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from apimachinery import pki, whole_file
from apimachinery.config import kubeconfig


def test_everything_is_kept_while_it_fits(tmp_path: Path) -> None:
    def ensure() -> list[bytes]:
        ca = pki.ensure_ca(tmp_path)
        server = ca.ensure_server(tmp_path / "srv", "kube-apiserver", dns=["kubernetes"], ips=["127.0.0.1"])
        client = ca.ensure_client(tmp_path / "admin", "admin", ["system:masters"])
        return [ca.pem, server.certificate_pem, client.key_pem, pki.ensure_key(tmp_path / "sa.key")]

    assert ensure() == ensure()


def test_changed_names_groups_or_authority_make_a_new_certificate(tmp_path: Path) -> None:
    ca = pki.ensure_ca(tmp_path)
    first = ca.ensure_server(tmp_path / "srv", "api", dns=["a"], ips=["10.0.0.1"])
    assert ca.ensure_server(tmp_path / "srv", "api", dns=["a"], ips=["10.0.0.2"]) != first
    client = ca.ensure_client(tmp_path / "c", "jo", ["dev"])
    assert ca.ensure_client(tmp_path / "c", "jo", ["ops"]) != client
    again = ca.ensure_client(tmp_path / "c", "jo", ["dev"])
    assert pki.ensure_ca(tmp_path / "other").ensure_client(tmp_path / "c", "jo", ["dev"]) != again


def test_a_key_of_another_certificate_is_replaced(tmp_path: Path) -> None:
    ca = pki.ensure_ca(tmp_path)
    pair = ca.ensure_client(tmp_path / "c", "jo")
    whole_file.replace(pair.key_path, ca.ensure_client(tmp_path / "d", "di").key_pem, 0o600)
    assert ca.ensure_client(tmp_path / "c", "jo").certificate_pem != pair.certificate_pem


def test_a_broken_authority_is_an_error_not_a_new_authority(tmp_path: Path) -> None:
    ca = pki.ensure_ca(tmp_path)
    ca.path.write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="remove both"):
        pki.ensure_ca(tmp_path)


def test_keys_are_private(tmp_path: Path) -> None:
    pair = pki.ensure_ca(tmp_path).pair
    pki.ensure_key(tmp_path / "sa.key")
    for path in (pair.key_path, tmp_path / "sa.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_tls_handshake_verifies_both_sides(tmp_path: Path) -> None:
    ca = pki.ensure_ca(tmp_path)
    server = ca.ensure_server(tmp_path / "srv", "api", dns=["localhost"], ips=["127.0.0.1"])
    client = ca.ensure_client(tmp_path / "jo", "jo", ["dev", "ops"])
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca.path))
    server_side.verify_mode = ssl.CERT_REQUIRED
    server_side.load_cert_chain(server.certificate_path, server.key_path)
    client_side = ssl.create_default_context(cafile=str(ca.path))
    client_side.load_cert_chain(client.certificate_path, client.key_path)
    seen: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.close()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=server_side)
    port = listener.sockets[0].getsockname()[1]
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_side)
    assert pki.identity(await seen) == ("jo", ("dev", "ops"))
    writer.close()
    listener.close()


def test_kubeconfig_holds_everything_inline(tmp_path: Path) -> None:
    ca = pki.ensure_ca(tmp_path)
    pair = ca.ensure_client(tmp_path / "c", "admin", ["system:masters"])
    config = kubeconfig("https://127.0.0.1:6443", ca.pem, pair.certificate_pem, pair.key_pem)
    assert config["current-context"] == config["contexts"][0]["name"]
    assert set(config["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}
    assert serialization.load_pem_private_key(pair.key_pem, None)
