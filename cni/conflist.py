"""Network configurations on disk, and which one is in force: the first valid file of the folder, in name order."""

import json
from dataclasses import dataclass
from pathlib import Path

from cni.spec import INCOMPATIBLE_VERSION, INVALID_CONFIG, SUPPORTED, CniError, Object, at_least

_ENDINGS = (".conflist", ".conf", ".json")


@dataclass(frozen=True, slots=True)
class NetworkList:
    """A network: its plugins in the order of ADD. ``raw`` is the file's JSON (always in conflist form)."""

    name: str
    version: str
    plugins: tuple[Object, ...]
    raw: Object

    def supports(self, version: str) -> bool:
        return at_least(self.version, version)


def parse(raw: Object) -> NetworkList:
    """Check a configuration; one of a single plugin becomes a list of one. Raises CniError naming what is wrong."""
    if "plugins" not in raw and "type" in raw:
        raw = {"cniVersion": raw.get("cniVersion"), "name": raw.get("name"), "plugins": [raw]}
    name, plugins = raw.get("name"), raw.get("plugins")
    if not name or not isinstance(name, str) or "/" in name:
        raise CniError(INVALID_CONFIG, "the network has no usable name", str(name))
    if not isinstance(plugins, list) or not plugins:
        raise CniError(INVALID_CONFIG, "the network has no plugins", name)
    for plugin in plugins:
        if not isinstance(plugin, dict) or not plugin.get("type") or "/" in plugin["type"]:
            raise CniError(INVALID_CONFIG, "a plugin has no usable type", name)
    return NetworkList(name, _version(raw), tuple(plugins), raw)


def _version(raw: Object) -> str:
    """The newest version that the file offers and we speak (``cniVersions`` is of specification 1.1)."""
    offered = {str(raw.get("cniVersion") or "0.3.0"), *(raw.get("cniVersions") or ())}
    for version in reversed(SUPPORTED):
        if version in offered:
            return version
    raise CniError(INCOMPATIBLE_VERSION, "no supported cniVersion", ", ".join(sorted(offered)))


class Folder:
    """A configuration folder, read again when a file in it has changed (checked by time stamps at each use)."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._stamp: tuple[tuple[str, int, int], ...] | None = None
        self._current: NetworkList | None = None
        self._problem = ""

    def current(self) -> NetworkList:
        """Raises CniError saying why there is none."""
        stamp = self._stat()
        if stamp != self._stamp:
            self._current, self._problem = self._load([name for name, _, _ in stamp])
            self._stamp = stamp
        if self._current is None:
            raise CniError(INVALID_CONFIG, self._problem or f"no network configuration in {self._path}")
        return self._current

    def _stat(self) -> tuple[tuple[str, int, int], ...]:
        if not self._path.is_dir():
            return ()
        files = sorted(file for file in self._path.iterdir() if file.suffix in _ENDINGS)
        stats = ((file, file.stat()) for file in files)
        return tuple((file.name, stat.st_mtime_ns, stat.st_size) for file, stat in stats)

    def _load(self, names: list[str]) -> tuple[NetworkList | None, str]:
        problems = []
        for name in names:
            try:
                return parse(json.loads((self._path / name).read_text())), ""
            except (CniError, OSError, ValueError) as error:
                problems.append(f"{name}: {error}")
        return None, "; ".join(problems)
