"""The CRI log format: ``<RFC 3339 nano> stdout|stderr F|P <line>``.

``P`` marks a part of a line: its text goes on in the next record of the same stream. Source: the CRI
specification, "container log format"; kubelet ``pkg/kubelet/kuberuntime/logs``.
"""

import datetime
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record; ``content`` ends with a newline unless ``partial``."""

    time: str
    stream: str
    partial: bool
    content: bytes


def rfc3339_nano(nanoseconds: int) -> str:
    """A time since 1970 in the form that logs and messages use."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def format_record(nanoseconds: int, stream: str, text: str) -> bytes:
    return f"{rfc3339_nano(nanoseconds)} {stream} F {text}\n".encode()


def parse_record(line: bytes) -> LogRecord | None:
    """The record in a whole line of a log file; None for what is not in the format."""
    parts = line.split(b" ", 3)
    if len(parts) < 4 or parts[1] not in (b"stdout", b"stderr"):
        return None
    partial = parts[2].split(b":", 1)[0] == b"P"
    content = parts[3][:-1] if partial and parts[3].endswith(b"\n") else parts[3]
    return LogRecord(parts[0].decode(), parts[1].decode(), partial, content)
