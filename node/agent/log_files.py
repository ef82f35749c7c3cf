"""Reads container logs in the CRI format: tail, since, timestamps, limit, follow, across rotations.

Rotated files of ``0.log`` are ``0.log.<time>``; they are read before the present one. Source: kubelet
``kuberuntime/logs/logs.go``.
"""

import asyncio
import contextlib
import glob
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from node.agent.times import parse_rfc3339
from node.cri.logs import LogRecord, parse_record

_POLL_SECONDS: Final = 0.1
_SLOW_POLL_SECONDS: Final = 1.0
_BLOCK_BYTES: Final = 64 * 1024
_CHUNK_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What is asked for. ``since`` is seconds since 1970; ``stream`` is "", "stdout" or "stderr"."""

    follow: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: float = 0.0
    stream: str = ""


class _Reader:
    """Turns records into output bytes: filters, stamps, cuts at the limit."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._left = options.limit_bytes
        self._open_line = False  # the last record was a part of a line
        self._since_passed = options.since <= 0

    @property
    def full(self) -> bool:
        return self._left is not None and self._left <= 0

    def wants(self, record: LogRecord) -> bool:
        if self._options.stream and record.stream != self._options.stream:
            return False
        if not self._since_passed:
            self._since_passed = parse_rfc3339(_six_digits(record.time)) >= self._options.since
        return self._since_passed

    def output(self, record: LogRecord) -> bytes:
        data = record.content
        if self._options.timestamps and not self._open_line:
            data = record.time.encode() + b" " + data
        self._open_line = record.partial
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        return data


def _six_digits(time: str) -> str:
    """Python reads at most microseconds: cut nanoseconds off."""
    head, dot, rest = time.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return head + dot + rest[: min(digits, 6)] + rest[digits:] if dot else time


async def read_log(path: str, options: LogOptions, running: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
    """The bytes of a log. With ``follow`` it ends when the container does not run any more and all is read."""
    reader = _Reader(options)
    older, current = await asyncio.to_thread(_open_all, path, options)
    try:
        async for data in _initial(older, current, options, reader):
            yield data
        if options.follow and not reader.full:
            async for data in _follow(path, current, reader, running):
                yield data
    finally:
        for file in (*older, current):
            file.close()


def _open_all(path: str, options: LogOptions) -> tuple[list[BinaryIO], BinaryIO]:
    folder, name = os.path.split(path)
    rotated = sorted(n for n in os.listdir(folder) if n.startswith(f"{name}.") and not n.endswith(".gz"))
    return [open(os.path.join(folder, n), "rb") for n in rotated], open(path, "rb")


async def _initial(
    older: list[BinaryIO], current: BinaryIO, options: LogOptions, reader: _Reader
) -> AsyncIterator[bytes]:
    """What the files hold now."""
    if options.tail_lines is not None:
        for data in await asyncio.to_thread(_tail, older, current, options.tail_lines, reader):
            yield data
        return
    for file in (*older, current):
        while chunk := await asyncio.to_thread(_next_chunk, file, reader):
            yield chunk
            if reader.full:
                return


def _tail(older: list[BinaryIO], current: BinaryIO, count: int, reader: _Reader) -> list[bytes]:
    """The last ``count`` records that are wanted; the file's position ends up behind all whole lines."""
    kept: deque[LogRecord] = deque(maxlen=max(count, 0))
    starts = [(file, 0) for file in older]
    if not reader._options.stream and not reader._options.since:
        start, found = _tail_offset(current, count)
        starts = [] if found >= count else starts
        current.seek(start)
    for file, offset in starts:
        file.seek(offset)
        kept.extend(r for r in _records(file) if reader.wants(r))
    kept.extend(r for r in _records(current) if reader.wants(r))
    return [b"".join(reader.output(r) for r in kept)] if kept else []


def _tail_offset(file: BinaryIO, count: int) -> tuple[int, int]:
    """Where the last ``count`` lines begin, and how many there are from there on."""
    end = file.seek(0, os.SEEK_END)
    position, lines = end, 0
    while position > 0:
        size = min(_BLOCK_BYTES, position)
        position -= size
        file.seek(position)
        block = file.read(size)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            if position + at == end - 1:
                continue
            lines += 1
            if lines == count:
                return position + at + 1, count
    return (end, 0) if count == 0 else (0, lines + 1 if end else 0)


def _records(file: BinaryIO) -> Iterator[LogRecord]:
    """Whole records from the file's position on; a line that is being written is left for the next time."""
    while line := file.readline():
        if not line.endswith(b"\n"):
            file.seek(-len(line), os.SEEK_CUR)
            return
        record = parse_record(line)
        if record is not None:
            yield record


def _next_chunk(file: BinaryIO, reader: _Reader) -> bytes:
    """Up to about 64 KiB of output; b"" at the end of what is there."""
    parts, size = [], 0
    for record in _records(file):
        if reader.wants(record):
            data = reader.output(record)
            parts.append(data)
            size += len(data)
        if size >= _CHUNK_BYTES or reader.full:
            break
    return b"".join(parts)


async def _follow(
    path: str, file: BinaryIO, reader: _Reader, running: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    """What is appended, also after the file has been rotated away and a new one begun."""
    idle = 0.0
    while not reader.full:
        alive = idle < _SLOW_POLL_SECONDS or await running()
        data = await asyncio.to_thread(_next_chunk, file, reader)
        if data:
            idle = 0.0
            yield data
            continue
        following = await asyncio.to_thread(_rotated, path, file)
        if following is not None:
            while rest := await asyncio.to_thread(_next_chunk, file, reader):
                yield rest  # written between the read above and the rotation
            file.close()
            file = following
            continue
        if not alive:
            return
        idle += _POLL_SECONDS
        await asyncio.sleep(_POLL_SECONDS)
        if idle >= _SLOW_POLL_SECONDS and not await running():
            idle = _SLOW_POLL_SECONDS


def _rotated(path: str, file: BinaryIO) -> BinaryIO | None:
    """The new file at the path when it is not the one that is open."""
    try:
        if os.stat(path).st_ino != os.fstat(file.fileno()).st_ino:
            return open(path, "rb")
    except FileNotFoundError:
        return None
    return None


def remove(path: str) -> None:
    """Remove a container's log, and what was moved aside of it."""
    for found in glob.glob(f"{glob.escape(path)}*"):
        with contextlib.suppress(FileNotFoundError):
            os.remove(found)
