"""Network namespaces for tests: all packets stay inside them."""

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager


def sh(*command: str, check: bool = True, text: str = "") -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, input=text)
    if check and done.returncode != 0:
        raise AssertionError(f"{command}: {done.stderr}")
    return done.stdout


def inside(namespace: str, *command: str, check: bool = True, text: str = "") -> str:
    return sh("ip", "netns", "exec", namespace, *command, check=check, text=text)


@contextmanager
def namespace() -> Iterator[str]:
    name = f"kw-{uuid.uuid4().hex[:8]}"
    sh("ip", "netns", "add", name)
    inside(name, "ip", "link", "set", "lo", "up")
    try:
        yield name
    finally:
        sh("ip", "netns", "del", name, check=False)
