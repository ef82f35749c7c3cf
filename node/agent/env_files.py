"""Variables from a file that another container has left in an emptyDir: ``valueFrom.fileKeyRef`` (KEP-3721).

A line is ``NAME='value'``, the value in single quotes, which may hold line breaks; a comment may follow.
Source: kubelet ``util/env``.
"""

import os
import re
from collections.abc import Mapping
from typing import Final

from node.agent.downward import ConfigError
from node.agent.pod_state import Object
from node.agent.volumes import sub_path
from node.agent.volumes.volume import VolumeError

_MOST_BYTES: Final = 64 * 1024
_VALUE: Final = r"(?:'([^']*)'[ \t]*(?:#[^\n]*)?|[ \t][^\n]*)?"
_ENTRY: Final = re.compile(rf"[ \t]*(?:(?:#[^\n]*)?|([^\s=#][^\s=]*)={_VALUE})(?:\n|\Z)")


def value(volumes: Mapping[str, str], ref: Object) -> str | None:
    """What a ``fileKeyRef`` means; None when it is absent and optional. Raises ConfigError."""
    name, key, volume = ref.get("path", ""), ref.get("key", ""), volumes.get(ref.get("volumeName", ""), "")
    try:
        found = parse(_read(volume, name)).get(key) if volume else None
    except (OSError, VolumeError, ValueError) as error:
        raise ConfigError(f"couldn't parse env file {name}: {error}") from error
    if found is None and not ref.get("optional"):
        raise ConfigError(f"environment variable key {key!r} not found in file {name!r}")
    return found


def _read(volume: str, name: str) -> str:
    """ "" when there is no such file."""
    if not os.path.exists(os.path.join(volume, name)):
        return ""
    descriptor = sub_path.open_inside(os.path.realpath(volume), name)
    try:
        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            text = file.read(_MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(text) > _MOST_BYTES:
        raise ValueError(f"it is larger than {_MOST_BYTES} bytes")
    return text.decode()


def parse(text: str) -> dict[str, str]:
    """Raises ValueError, with the number of the line."""
    out: dict[str, str] = {}
    place = 0
    while place < len(text):
        match = _ENTRY.match(text, place)
        if match is None:
            line = text.count("\n", 0, place) + 1
            raise ValueError(f"invalid environment variable format at line {line}")
        if match.group(1):
            out.setdefault(match.group(1), match.group(2) or "")
        place = match.end()
    return out
