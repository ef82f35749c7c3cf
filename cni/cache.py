"""What ADD did, kept until DEL: with it DEL undoes the same plugins with the same arguments, whatever the folder says
by then. One JSON file an attachment, replaced atomically, in the form of libcni's cache (``cniCacheV1``)."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cni.spec import Object

_KIND = "cniCacheV1"


@dataclass(frozen=True, slots=True)
class Attached:
    container_id: str
    ifname: str
    netns: str
    config: Object
    args: Mapping[str, str]
    capabilities: Mapping[str, Any]
    result: Object | None


class Cache:
    def __init__(self, directory: str) -> None:
        self._directory = Path(directory) / "results"

    def save(self, attached: Attached) -> None:
        """Raises OSError."""
        self._directory.mkdir(parents=True, exist_ok=True)
        record = {
            "kind": _KIND,
            "containerId": attached.container_id,
            "ifName": attached.ifname,
            "netns": attached.netns,
            "networkName": attached.config["name"],
            "config": attached.config,
            "cniArgs": [[key, value] for key, value in attached.args.items()],
            "capabilityArgs": dict(attached.capabilities),
            "result": attached.result,
        }
        file = self._file(attached.container_id, attached.ifname)
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        temporary.write_text(json.dumps(record))
        temporary.replace(file)

    def load(self, container_id: str, ifname: str) -> Attached | None:
        return _read(self._file(container_id, ifname))

    def drop(self, container_id: str, ifname: str) -> None:
        self._file(container_id, ifname).unlink(missing_ok=True)

    def all(self) -> list[Attached]:
        if not self._directory.is_dir():
            return []
        records = (_read(file) for file in self._directory.iterdir() if not file.name.startswith("."))
        return [record for record in records if record is not None]

    def _file(self, container_id: str, ifname: str) -> Path:
        return self._directory / f"{container_id}-{ifname}"


def _read(file: Path) -> Attached | None:
    """None for an absent file, and for one that a crash or another program left unreadable: DEL then goes by the
    folder's configuration, as the specification allows."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        record = json.loads(file.read_text())
        return Attached(
            record["containerId"],
            record["ifName"],
            record["netns"],
            record["config"],
            dict(record["cniArgs"]),
            record["capabilityArgs"],
            record["result"],
        )
    return None
