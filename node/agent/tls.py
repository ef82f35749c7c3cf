"""The TLS of the node's gRPC server: mutual, by the cluster CA, with files that are read again when they change."""

import os
from dataclasses import dataclass
from typing import Any

import grpc

from apimachinery.logging import get_logger

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files."""

    certificate: str
    private_key: str
    client_ca: str

    def stamp(self) -> tuple[int, ...]:
        return tuple(os.stat(p).st_mtime_ns for p in (self.certificate, self.private_key, self.client_ca))


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that follow the files. Raises OSError when they cannot be read now."""
    seen = [files.stamp()]

    def fetch() -> Any:
        """Called at each handshake; None = nothing has changed."""
        try:
            stamp = files.stamp()
            if stamp == seen[0]:
                return None
            fresh = _read(files)
        except OSError as error:
            _log.warning("Certificates cannot be read, keeping the old", error=str(error))
            return None
        seen[0] = stamp
        _log.info("Certificates reloaded")
        return fresh

    return grpc.dynamic_ssl_server_credentials(_read(files), fetch, require_client_authentication=True)


def _read(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    with open(files.certificate, "rb") as c, open(files.private_key, "rb") as k, open(files.client_ca, "rb") as ca:
        return grpc.ssl_server_certificate_configuration([(k.read(), c.read())], root_certificates=ca.read())
