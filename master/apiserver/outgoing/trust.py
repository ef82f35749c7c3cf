"""What an outgoing connection needs to know: how it is opened, and whom it believes. Without an HTTP library."""

import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Connect = Callable[[str, int, float], Awaitable[socket.socket]]
"""Host, port, seconds. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Trust:
    """``ca``: PEM; without one the system's. ``verify``: whether the other end's certificate is looked at at all.
    ``certificate``: files with our own certificate and key, to show on demand."""

    ca: str = ""
    verify: bool = True
    certificate: tuple[str, str] | None = None

    def context(self) -> ssl.SSLContext:
        """Raises OSError (ssl.SSLError among them) for what is no certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca:
            # As in Go, whatever certificate is named is trusted, not only one that has signed itself.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(cadata=self.ca)
        else:
            context.load_default_certs()
        if self.certificate:
            context.load_cert_chain(*self.certificate)
        return context
