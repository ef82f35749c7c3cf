"""The images that a cluster needs where no registry can be reached."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from apimachinery import checkout
from cli.up.prerequisites import CannotStart
from cli.up.progress import Progress

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ROOT = DEPLOY.parent
IMAGE, BASE = "kubeto/kubeto:dev", "kubeto/base:trixie"
_SOURCES = ("apimachinery", "cli", "cni", "master", "node", "protos", "deploy", "pyproject.toml", "README.md")
_IMAGE_PYTHON = "3.13"
_PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (17, 24, 27, 28, 31, 34)] + ["manylinux2014_x86_64"]
EXAMPLES = ("kubeto/pause:2", "kubeto/busybox:1")


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


def ensure_image(progress: Progress) -> None:
    """The image of all components, built when the sources have changed since the last time."""
    if not present(BASE):
        with progress.step("Base image (Debian trixie; about two minutes, once)"):
            _run([str(DEPLOY / "base-image.sh"), BASE], f"making {BASE}")
    digest = _digest()
    if _label(IMAGE, "kubeto.dev/sources") == digest:
        return
    with progress.step(f"Image {IMAGE}"), tempfile.TemporaryDirectory() as folder:
        _build(Path(folder), digest)


def _build(context: Path, digest: str) -> None:
    """Build from a wheelhouse: the dependencies' wheels for the image's Python, and our own."""
    wheelhouse = ROOT / ".kubeto-wheels"
    pip = [sys.executable, "-m", "pip", "--quiet", "--quiet", "--disable-pip-version-check"]
    only = ["--only-binary=:all:", f"--python-version={_IMAGE_PYTHON}", *(f"--platform={p}" for p in _PLATFORMS)]
    _run([*pip, "download", *only, f"--dest={wheelhouse}", *_dependencies()], "downloading wheels")
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # a module that has moved would be in the wheel twice
    _run([*pip, "wheel", "--no-deps", f"--wheel-dir={context / 'wheelhouse'}", str(ROOT)], "building our wheel")
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    for wheel in wheelhouse.glob("*.whl"):
        (context / "wheelhouse" / wheel.name).hardlink_to(wheel)
    for name in ("Dockerfile", "docker-compose.yml", "example-images.sh", "healthcheck.sh"):
        shutil.copy(DEPLOY / name, context / name)
    (context / checkout.TOLD.name).write_text(str(checkout.read(ROOT)))
    label = f"--label=kubeto.dev/sources={digest}"
    _run(
        [
            "docker",
            "build",
            "--quiet",
            "--network=none",
            f"--build-arg=BASE={BASE}",
            label,
            f"--tag={IMAGE}",
            str(context),
        ],
        "docker build",
    )


def _dependencies() -> list[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: list[str] = tomllib.load(file)["project"]["dependencies"]
    return found


def _digest() -> str:
    """What the image depends on, so that an unchanged tree builds nothing."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        path = ROOT / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()


def _label(image: str, label: str) -> str:
    form = f'--format={{{{index .Config.Labels "{label}"}}}}'
    done = subprocess.run(["docker", "image", "inspect", form, image], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotStart(f"{what} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
