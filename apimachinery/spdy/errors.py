"""What can go wrong with a SPDY connection."""


class SpdyError(Exception):
    """Base of this package's errors."""


class ProtocolError(SpdyError):
    """The peer broke SPDY/3.1. The connection cannot be used any more."""


class ConnectionClosed(SpdyError):
    """The connection ended, by either side, before what was asked for happened."""


class StreamReset(SpdyError):
    """The peer, or this side, reset the stream. ``status`` is SPDY's RST_STREAM status code."""

    def __init__(self, status: int) -> None:
        super().__init__(f"stream was reset with status {status}")
        self.status = status


class UpgradeRefused(SpdyError):
    """The server answered an upgrade request with something else than 101."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"upgrade refused with HTTP {status}: {body[:1024].decode('utf-8', 'replace').strip()}")
        self.status, self.body = status, body
