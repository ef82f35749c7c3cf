"""How far each sandbox's network has come, kept in files: what must outlive this process.

A file is written before an interface is asked for and removed after all was given back, so that nothing a dead
process has left behind is forgotten. Invariant: a sandbox without a file owns no address.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from apimachinery import whole_file

ADDING, ATTACHED, RELEASED = "adding", "attached", "released"


@dataclass(frozen=True, slots=True)
class Attachment:
    phase: str
    ips: tuple[str, ...] = ()
    host_network: bool = False
    args: tuple[tuple[str, str], ...] = ()
    """CNI arguments, for a release after the sandbox itself is gone."""


class Attachments:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._known = {path.stem: _read(path) for path in folder.glob("*.json")}

    def get(self, sandbox_id: str) -> Attachment | None:
        return self._known.get(sandbox_id)

    def all(self) -> dict[str, Attachment]:
        return dict(self._known)

    def put(self, sandbox_id: str, attachment: Attachment) -> None:
        path = self._folder / f"{sandbox_id}.json"
        whole_file.replace(str(path), orjson.dumps(asdict(attachment)))
        self._known[sandbox_id] = attachment

    def drop(self, sandbox_id: str) -> None:
        (self._folder / f"{sandbox_id}.json").unlink(missing_ok=True)
        self._known.pop(sandbox_id, None)


def _read(path: Path) -> Attachment:
    saved = orjson.loads(path.read_bytes())
    args = tuple((name, value) for name, value in saved["args"])
    return Attachment(saved["phase"], tuple(saved["ips"]), saved["host_network"], args)
