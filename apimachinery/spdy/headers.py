"""SPDY/3.1's header blocks: pairs of lower-case names and values, compressed by one zlib stream a direction.

The stream starts from a dictionary of words that headers are made of. Several values of one name are joined by NUL.

Source: https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/ section 2.6.10
"""

import struct
import zlib
from collections.abc import Mapping

from .errors import ProtocolError

MAX_BLOCK_BYTES = 256 * 1024
"""What one compressed block may unfold to: a small frame can hold a zip bomb."""

_WORDS = """options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age
allow authorization cache-control connection content-base content-encoding content-language content-length
content-location content-md5 content-range content-type date etag expect expires from host if-match
if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma
proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade
user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie
keep-alive origin"""
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _sized(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack(">I", len(data)) + data


DICTIONARY = b"".join(_sized(word.replace("_", " ")) for word in _WORDS.split()) + _TAIL.encode("ascii")


class HeaderEncoder:
    """The sending direction of one connection: blocks must go out in the order they are encoded."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(zdict=DICTIONARY)

    def encode(self, headers: Mapping[str, str]) -> bytes:
        block = struct.pack(">I", len(headers)) + b"".join(_sized(n.lower()) + _sized(v) for n, v in headers.items())
        return self._zlib.compress(block) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


class HeaderDecoder:
    """The receiving direction. Every block must be decoded, in order, even those of unwanted streams."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)

    def decode(self, data: bytes) -> dict[str, str]:
        """Raises ProtocolError for what is not a header block."""
        try:
            block = self._zlib.decompress(data, MAX_BLOCK_BYTES)
        except zlib.error as error:
            raise ProtocolError(f"header block: {error}") from error
        if self._zlib.unconsumed_tail:
            raise ProtocolError(f"header block of more than {MAX_BLOCK_BYTES} bytes")
        try:
            return _parse(block)
        except (struct.error, UnicodeDecodeError) as error:
            raise ProtocolError(f"header block: {error}") from error


def _parse(block: bytes) -> dict[str, str]:
    (count,) = struct.unpack_from(">I", block)
    texts: list[str] = []
    at = 4
    for _ in range(count * 2):
        (size,) = struct.unpack_from(">I", block, at)
        at += 4
        if at + size > len(block):
            raise ProtocolError("header block is cut short")
        texts.append(block[at : at + size].decode("utf-8"))
        at += size
    return dict(zip(texts[::2], texts[1::2], strict=True))
