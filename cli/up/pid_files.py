"""The files that tell which process is a component's."""

import os
from pathlib import Path


def read_pid(path: Path) -> int:
    """0 if there is none."""
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0


def write_pid(path: str | Path, pid: int) -> None:
    """At once: whoever reads the file sees a whole number. Two may write the same one."""
    new = f"{path}.{os.getpid()}"
    with open(new, "w") as file:
        file.write(str(pid))
    os.replace(new, path)
