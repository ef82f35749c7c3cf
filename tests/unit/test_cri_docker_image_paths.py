"""Sub paths of image volumes stay inside the image, whatever its links say."""

from pathlib import Path

import pytest

from node.cri_docker.image_mounts import _inside as inside
from node.cri_docker.refusal import NotFound, Refused


@pytest.fixture
def image(tmp_path: Path) -> str:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "up").symlink_to("../a/b")
    (tmp_path / "absolute").symlink_to("/a")
    (tmp_path / "out").symlink_to("../../etc")
    (tmp_path / "loop").symlink_to("loop")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("asked", "found"), [("", ""), ("a/b/", "/a/b"), ("/a/./up", "/a/b"), ("absolute/b", "/a/b"), ("a/b/..", "/a")]
)
def test_inside(image: str, asked: str, found: str) -> None:
    assert inside(image, asked) == found


@pytest.mark.parametrize(("asked", "error"), [("..", Refused), ("out", Refused), ("loop", Refused), ("no", NotFound)])
def test_not_inside(image: str, asked: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        inside(image, asked)
