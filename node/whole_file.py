"""Small files that are replaced whole: whoever is killed, or reads meanwhile, has the old content or the new."""

import os


def replace(path: str, content: bytes) -> None:
    """Write ``content`` as the file ``path``, by rename; its folder is made. Raises OSError."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.new", "wb") as file:
        file.write(content)
    os.replace(f"{path}.new", path)
