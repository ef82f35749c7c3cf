"""How a process reaches its cluster: what a kubeconfig says, with every file read in.

Source: ``client-go/tools/clientcmd`` for the format. Relative file names are relative to the kubeconfig.
"""

import base64
import binascii
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class ConfigError(Exception):
    """The kubeconfig cannot be used; the message says which part of it and why."""


@dataclass(frozen=True)
class ClusterAccess:
    """One cluster and one user. Certificates and keys are PEM bytes."""

    server: str
    ca: bytes | None = None
    client_certificate: bytes | None = None
    client_key: bytes | None = None
    token: str = ""
    insecure: bool = False
    namespace: str = "default"

    def tls(self) -> ssl.SSLContext:
        """Trusts the cluster's CA, and shows the client certificate if there is one."""
        context = ssl.create_default_context(cadata=self.ca.decode() if self.ca else None)
        if self.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if self.client_certificate and self.client_key:
            # The ssl module reads keys from files only: this one is in memory and never reaches a disk.
            file = os.memfd_create("client-certificate")
            try:
                os.write(file, self.client_certificate + b"\n" + self.client_key)
                context.load_cert_chain(f"/proc/self/fd/{file}")
            finally:
                os.close(file)
        return context


_UNSUPPORTED_USER = ("exec", "auth-provider", "username", "password", "as")


def load_kubeconfig(path: str, context: str = "") -> ClusterAccess:
    """Read a context (``""`` = the current one) of the kubeconfig at ``path``. Raises ConfigError."""
    file = Path(path).expanduser()
    config = _read(file)
    name = context or config.get("current-context") or ""
    about = _entry(config, "contexts", "context", name)
    cluster = _entry(config, "clusters", "cluster", about.get("cluster", ""))
    user = _entry(config, "users", "user", about["user"]) if about.get("user") else {}
    for key in _UNSUPPORTED_USER:
        if user.get(key):
            raise ConfigError(f"{path}: user {about['user']}: {key!r} is not supported, use a certificate or a token")
    if not cluster.get("server"):
        raise ConfigError(f"{path}: cluster {about.get('cluster')!r} has no server")
    return ClusterAccess(
        server=str(cluster["server"]).rstrip("/"),
        ca=_bytes(file, cluster, "certificate-authority"),
        client_certificate=_bytes(file, user, "client-certificate"),
        client_key=_bytes(file, user, "client-key"),
        token=_token(file, user),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        namespace=about.get("namespace") or "default",
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(file.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read kubeconfig {file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"kubeconfig {file} is not valid YAML: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"kubeconfig {file} is not a mapping")
    return config


def _entry(config: dict[str, Any], section: str, key: str, name: str) -> dict[str, Any]:
    for entry in config.get(section) or ():
        if entry.get("name") == name:
            found: dict[str, Any] = entry.get(key) or {}
            return found
    raise ConfigError(f"kubeconfig has no {key} named {name!r}")


def _bytes(file: Path, section: dict[str, Any], key: str) -> bytes | None:
    if section.get(f"{key}-data"):
        try:
            return base64.b64decode(section[f"{key}-data"], validate=True)
        except binascii.Error as error:
            raise ConfigError(f"{file}: {key}-data is not base64: {error}") from error
    return _content(file, section[key]) if section.get(key) else None


def _token(file: Path, user: dict[str, Any]) -> str:
    if user.get("token"):
        return str(user["token"])
    return _content(file, user["tokenFile"]).decode().strip() if user.get("tokenFile") else ""


def _content(file: Path, name: str) -> bytes:
    target = file.parent / name
    try:
        return target.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} names {target}, which cannot be read: {error.strerror}") from error


def kubeconfig(
    server: str,
    ca_pem: bytes,
    certificate_pem: bytes = b"",
    key_pem: bytes = b"",
    *,
    token: str = "",
    cluster: str = "kubeto",
    user: str = "admin",
) -> dict[str, Any]:
    """A kubeconfig with one context, everything inline: a client certificate and key, or a token."""
    credentials: dict[str, Any] = {"token": token} if token else {}
    if certificate_pem:
        credentials["client-certificate-data"] = _b64(certificate_pem)
        credentials["client-key-data"] = _b64(key_pem)
    context = f"{user}@{cluster}" if user != "admin" else cluster
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": server, "certificate-authority-data": _b64(ca_pem)}}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": context, "context": {"cluster": cluster, "user": user}}],
        "current-context": context,
        "preferences": {},
    }


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
