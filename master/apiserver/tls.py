"""The server's TLS: its own certificate, and client certificates that are asked for but not demanded."""

import contextlib
import ssl
import tempfile
from collections.abc import Iterator

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from apimachinery.logging import get_logger

from .settings import ServingSettings

_log = get_logger(__name__)


def server_context(serving: ServingSettings, front_proxy_ca: str = "") -> ssl.SSLContext:
    """Client certificates of either CA are accepted; what they are worth is decided later.

    Raises OSError for files that cannot be read or do not hold what they should."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(serving.tls_cert_file, serving.tls_private_key_file)
    context.set_alpn_protocols(["http/1.1"])
    for path in filter(None, (serving.client_ca_file, front_proxy_ca)):
        context.load_verify_locations(path)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


@contextlib.contextmanager
def signing_key(given: str) -> Iterator[str]:
    """The file of the key for service-account tokens: the one ``given``, or one that is there for the block only."""
    if given:
        yield given
        return
    _log.warning("No --service-account-signing-key-file: tokens are signed with a key that ends with this process")
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with tempfile.NamedTemporaryFile(prefix="kubeto-sa-", suffix=".key") as file:
        file.write(pem)
        file.flush()
        yield file.name
