"""Which commit this program is of, read without git: from the checkout it runs in, or what an image was told of it.

The commit's own date is packed away; the reflog's last line has the commit and when the checkout came to it. An archive
or an installation by pip knows neither: such a commit is all zeros, and the date that of the files.
"""

import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOLD = Path("deploy", "checkout")
"""Below an image's prefix: what ``str`` of its checkout was."""
_UNKNOWN = "0" * 40
_LOGGED = re.compile(rb"[0-9a-f]{40} ([0-9a-f]{40}) .*> ([0-9]+) [+-][0-9]{4}")


@dataclass(frozen=True, slots=True)
class Checkout:
    """``commit``: 40 hexadecimal digits. ``date``: RFC 3339 in UTC. ``known``: whether there was a checkout."""

    commit: str
    date: str

    @property
    def known(self) -> bool:
        return self.commit != _UNKNOWN

    def __str__(self) -> str:
        return f"{self.commit} {self.date}"


def read(root: Path = ROOT, prefix: Path = Path(sys.prefix)) -> Checkout:
    """Of the sources in ``root``, or of the image that was built with ``prefix``."""
    try:
        logged = _LOGGED.match((_git(root) / "logs" / "HEAD").read_bytes().splitlines()[-1])
        if logged:
            return Checkout(logged[1].decode(), _date(int(logged[2])))
    except (OSError, IndexError):
        pass  # no checkout, or one that keeps no log
    told = prefix / TOLD
    if told.is_file() and len(words := told.read_text().split()) == 2:
        return Checkout(*words)
    return Checkout(_UNKNOWN, _date(Path(__file__).stat().st_mtime))


def _git(root: Path) -> Path:
    """The directory of a checkout's HEAD; a worktree's ``.git`` is a file that names it."""
    git = root / ".git"
    return root / git.read_text().removeprefix("gitdir:").strip() if git.is_file() else git


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
