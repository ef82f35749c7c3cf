"""Which commit the program is of."""

from pathlib import Path

from apimachinery.checkout import Checkout, read

COMMIT = "1" * 40


def log(folder: Path) -> None:
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "HEAD").write_text(f"{'0' * 40} {COMMIT} A > B <a@b> 1700000000 +0100\tcommit: x\n")


def test_of_a_checkout(tmp_path: Path) -> None:
    log(tmp_path / ".git")
    assert read(tmp_path, tmp_path) == Checkout(COMMIT, "2023-11-14T22:13:20Z")


def test_of_a_worktree(tmp_path: Path) -> None:
    log(tmp_path / "elsewhere")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / ".git").write_text("gitdir: ../elsewhere\n")
    assert read(tmp_path / "tree", tmp_path).commit == COMMIT


def test_of_an_image_and_of_an_archive(tmp_path: Path) -> None:
    assert not read(tmp_path, tmp_path).known
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "checkout").write_text(str(Checkout(COMMIT, "2023-11-14T22:13:20Z")))
    assert read(tmp_path, tmp_path) == Checkout(COMMIT, "2023-11-14T22:13:20Z")
