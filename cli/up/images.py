"""The images that a cluster needs where no registry can be reached."""

import subprocess
from pathlib import Path

from cli.up.prerequisites import CannotStart
from cli.up.progress import Progress

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
EXAMPLES = ("kubeto/pause:1", "kubeto/busybox:1")


def present(*images: str) -> bool:
    """Whether Docker's engine holds all of them."""
    return subprocess.run(["docker", "image", "inspect", *images], capture_output=True, check=False).returncode == 0


def ensure_example_images(progress: Progress) -> None:
    """The sandbox image and a small busybox image, made from Debian's static busybox."""
    if present(*EXAMPLES):
        return
    with progress.step("Sandbox and example images") as step:
        done = subprocess.run([str(DEPLOY / "example-images.sh")], capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotStart(f"making {', '.join(EXAMPLES)} failed: {done.stderr.strip()}")
        step.detail = ", ".join(EXAMPLES)
