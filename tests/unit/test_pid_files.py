"""Pid files: whole whenever they are read."""

import threading
from pathlib import Path

from cli.up.pid_files import read_pid, write_pid


def test_a_pid_file_is_never_seen_half_written(tmp_path: Path) -> None:
    path, ended = tmp_path / "c.pid", threading.Event()

    def write() -> None:
        for pid in range(1_000_000, 1_001_000):
            write_pid(path, pid)
        ended.set()

    assert read_pid(path) == 0
    write_pid(path, 1_000_000)
    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not ended.is_set():
        seen.add(read_pid(path))
    writer.join()
    assert min(seen) >= 1_000_000
    assert read_pid(path) == 1_000_999
    assert list(tmp_path.iterdir()) == [path]
