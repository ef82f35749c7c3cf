"""Reading logs: tail, limits, parts of lines, following across a rotation."""

import asyncio
from pathlib import Path

import pytest

from node.agent.log_files import LogOptions, read_log


def write(path: Path, *texts: str, start: int = 0, stream: str = "stdout", tag: str = "F") -> None:
    with path.open("a") as file:
        for n, text in enumerate(texts, start):
            file.write(f"2026-01-01T00:00:{n:02d}.123456789Z {stream} {tag} {text}\n")


async def ended() -> bool:
    return False


async def read(path: Path, **options: object) -> str:
    parts = [data async for data in read_log(str(path), LogOptions(**options), ended)]  # type: ignore[arg-type]
    return b"".join(parts).decode()


@pytest.mark.parametrize(("tail", "lines"), [(0, []), (1, ["c"]), (2, ["b", "c"]), (9, ["a", "b", "c"])])
async def test_tail(tmp_path: Path, tail: int, lines: list[str]) -> None:
    write(tmp_path / "0.log", "a", "b", "c")
    assert (await read(tmp_path / "0.log", tail_lines=tail)).splitlines() == lines


async def test_tail_reaches_into_rotated_files(tmp_path: Path) -> None:
    write(tmp_path / "0.log.20260101-000000", "a", "b")
    write(tmp_path / "0.log", "c", start=2)
    assert await read(tmp_path / "0.log", tail_lines=2) == "b\nc\n"
    assert await read(tmp_path / "0.log") == "a\nb\nc\n"


async def test_since_timestamps_limit_and_stream(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    write(log, "a", "b")
    write(log, "e", start=2, stream="stderr")
    assert await read(log, since=1767225601.0) == "b\ne\n"
    assert await read(log, stream="stderr") == "e\n"
    assert await read(log, limit_bytes=3) == "a\nb"
    assert (await read(log, timestamps=True)).startswith("2026-01-01T00:00:00.123456789Z a\n")


async def test_parts_of_a_line_are_joined(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    write(log, "one ", tag="P")
    write(log, "line")
    assert await read(log) == "one line\n"


async def test_follow_goes_on_after_rotation_and_ends_with_the_container(tmp_path: Path) -> None:
    log, alive = tmp_path / "0.log", True
    write(log, "a")
    got: list[bytes] = []

    async def running() -> bool:
        return alive

    async def collect() -> None:
        async for data in read_log(str(log), LogOptions(follow=True), running):
            got.append(data)

    following = asyncio.create_task(collect())
    async with asyncio.timeout(20):
        while b"".join(got) != b"a\n":
            await asyncio.sleep(0.01)
        log.rename(tmp_path / "0.log.20260101-000000")
        write(log, "b", start=1)
        while b"".join(got) != b"a\nb\n":
            await asyncio.sleep(0.01)
        alive = False
        await following
