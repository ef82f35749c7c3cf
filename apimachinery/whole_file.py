"""Files that are replaced whole: whoever is killed, or reads meanwhile, has the old content or the new."""

import os
import tempfile
from pathlib import Path


def replace(path: str | os.PathLike[str], content: bytes, mode: int = 0o644) -> None:
    """Write the file, by rename, with ``mode`` from its first byte on; its folder is made. Raises OSError."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
