"""One container's log: from the engine's json-file entries to the CRI's lines, exactly once."""

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import orjson

from apimachinery.logging import get_logger
from node.cri_docker.records import nanoseconds

_PIECE = 1 << 18
_TAIL = 1 << 16
log = get_logger(__name__)


class Mark:
    """Where a copy stood when its file was last changed for a new one, kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[int, int]:
        """(time in ns, entries of that time already copied); (0, 0) without a mark."""
        try:
            time, count = self._path.read_text().split()
            return int(time), int(count)
        except (FileNotFoundError, ValueError):
            return 0, 0

    def write(self, time: int, count: int) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(f"{time} {count}")
        os.replace(new, self._path)


class LogCopy:
    """Copies ``source`` (and the files it was rotated to) into ``target``, from where an earlier copy ended."""

    def __init__(self, source: str, target: str, mark: Mark) -> None:
        self.source, self.target = source, target
        self._mark = mark
        self._in: BinaryIO | None = None
        self._out = -1
        self._rest = b""
        self._time, self._count = 0, 0
        """Of the last entry copied: its time, and how many entries of just that time were copied."""
        self._resuming: tuple[int, int] | None = None
        self._older: list[str] = []

    def step(self) -> bool:
        """Copy one piece; False when there is nothing more now. Raises OSError (disk full): repeat it later."""
        if self._out < 0:
            self._open()
        data = self._read()
        if not data:
            return self._next_file()
        *lines, rest = (self._rest + data).split(b"\n")
        position, self_count = self._time, self._count
        out = b"".join(map(self._line, lines))
        try:
            self._write(out)
        except OSError:
            self._time, self._count = position, self_count
            self._in_back(len(data))
            raise
        self._rest = rest
        return True

    def reopen(self) -> None:
        """Go on in a new file; the old one has been renamed."""
        self._mark.write(self._time, self._count)
        if self._out >= 0:
            os.close(self._out)
        self._out = _append_to(self.target)

    def close(self) -> None:
        if self._out >= 0:
            os.close(self._out)
        if self._in:
            self._in.close()
        self._out, self._in = -1, None

    def _open(self) -> None:
        out = _append_to(self.target)
        self._time, self._count = _last_entry(out)
        marked, count = self._mark.read()
        if marked == self._time:  # entries of one instant on both sides of a rotation
            self._count += count
        elif not self._time:
            self._time, self._count = marked, count
        if self._time:
            self._resuming = (self._time, self._count)
            rotated = Path(self.source).parent.glob(Path(self.source).name + ".*")
            self._older = sorted((str(p) for p in rotated), key=lambda name: -int(name.rsplit(".", 1)[1]))
        self._out = out

    def _read(self) -> bytes:
        if self._in is None:
            path = self._older.pop(0) if self._older else self.source
            try:
                self._in = open(path, "rb", buffering=0)  # noqa: SIM115 - kept open over many steps
            except FileNotFoundError:
                return b""
        return self._in.read(_PIECE)

    def _in_back(self, size: int) -> None:
        if self._in:
            self._in.seek(-size, os.SEEK_CUR)

    def _next_file(self) -> bool:
        """At the end of a file: is there a newer one? The engine renames its file and begins another."""
        if self._in is None:
            return False
        if not self._older:
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._in.fileno()), os.stat(self.source)):
                    return False
            if not os.path.exists(self.source):
                return False
            # Between the last read and the rename it may have grown once more.
            if data := self._in.read(_PIECE):
                self._in_back(len(data))
                return True
        self._in.close()
        self._in, self._rest = None, b""
        return True

    def _line(self, entry: bytes) -> bytes:
        """One json-file entry as a CRI line; b"" for one that was copied before."""
        try:
            fields = orjson.loads(entry)
            text, stamp, stream = fields["log"], fields["time"], fields["stream"]
        except (orjson.JSONDecodeError, KeyError):
            log.warning("Engine's log has a broken entry", source=self.source, size=len(entry))
            return b""
        if self._was_copied(nanoseconds(stamp)):
            return b""
        full = text.endswith("\n")
        return f"{stamp} {stream} {'F' if full else 'P'} {text if full else text + chr(10)}".encode()

    def _was_copied(self, time: int) -> bool:
        if self._resuming:
            last, count = self._resuming
            if time < last or (time == last and count > 0):
                self._resuming = (last, count - (time == last))
                return True
            if time > last:
                self._resuming = None
        self._time, self._count = time, self._count + 1 if time == self._time else 1
        return False

    def _write(self, data: bytes) -> None:
        """All or nothing, so that a full disk does not leave half a line."""
        if not data:
            return
        size = os.fstat(self._out).st_size
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._out, view) :]
        except OSError:
            os.ftruncate(self._out, size)
            raise


def _append_to(path: str) -> int:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _last_entry(out: int) -> tuple[int, int]:
    """(time, count) of the last entry in a log; a torn last line is cut off."""
    size, tail = os.fstat(out).st_size, b""
    while len(tail) < size and tail.count(b"\n") < 2:
        start = max(0, size - len(tail) - _TAIL)
        tail = os.pread(out, size - len(tail) - start, start) + tail
    whole, _, torn = tail.rpartition(b"\n")
    if torn:
        os.ftruncate(out, size - len(torn))
    stamps = [line.split(b" ", 1)[0] for line in whole.split(b"\n")]
    if not stamps[-1]:
        return 0, 0
    return nanoseconds(stamps[-1].decode()), stamps.count(stamps[-1])
