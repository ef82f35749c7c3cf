"""SPDY/3.1 as Kubernetes speaks it: for exec, attach and port-forward of CRI runtimes and older clients.

``Connection`` (see ``connection.py``) multiplexes streams over any byte stream; ``upgrade.connect`` and
``upgrade.accept`` begin one by HTTP upgrade. Why not PyPI's ``spdy-py``: it is the framing alone, for clients alone,
without bounds, under the LGPL and unmaintained.
"""

from .connection import ByteReader, ByteWriter, Connection, Role
from .errors import ConnectionClosed, ProtocolError, SpdyError, StreamReset, UpgradeRefused
from .stream import Stream

__all__ = [
    "ByteReader",
    "ByteWriter",
    "Connection",
    "ConnectionClosed",
    "ProtocolError",
    "Role",
    "SpdyError",
    "Stream",
    "StreamReset",
    "UpgradeRefused",
]
