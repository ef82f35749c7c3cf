"""A log is copied whole and once, wherever the copy is broken off and however the engine rotates."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from node.cri_docker.log_copy import LogCopy, Mark

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\n\r", exclude_categories=["Cs", "Zl", "Zp", "Cc"]))
ENTRIES = st.lists(st.tuples(TEXTS, st.booleans(), st.sampled_from(["stdout", "stderr"]), st.booleans()), max_size=30)
BREAKS = st.lists(st.sampled_from(["step", "kill", "tear", "rotate", "reopen"]), max_size=12)


@settings(max_examples=150, deadline=None)
@given(ENTRIES, BREAKS)
def test_exactly_once(entries: list[tuple[str, bool, str, bool]], breaks: list[str]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        source, target, mark = folder / "x-json.log", folder / "out" / "0.log", Mark(folder / "mark")
        expected, time = [], 0
        copy = LogCopy(str(source), str(target), mark)
        chunks = max(1, len(entries) // (len(breaks) + 1))
        closed: list[bytes] = []
        for number, (text, full, stream, same_time) in enumerate(entries):
            time += 0 if same_time else 1
            stamp = f"2026-01-01T00:00:00.{time:09d}Z"
            with open(source, "ab") as file:
                log = text + ("\n" if full else "")
                file.write(orjson.dumps({"log": log, "stream": stream, "time": stamp}) + b"\n")
            expected.append(f"{stamp} {stream} {'F' if full else 'P'} {text}\n")
            if number % chunks == 0 and breaks:
                copy = disturb(breaks.pop(), copy, source, target, mark, closed)
        while copy.step():
            pass
        copy.close()
        assert b"".join([*closed, target.read_bytes()]).decode() == "".join(expected)


def disturb(what: str, copy: LogCopy, source: Path, target: Path, mark: Mark, closed: list[bytes]) -> LogCopy:
    if what == "rotate":  # the engine's rotation, which keeps two old files: the copy must not fall that far behind
        while copy.step():
            pass
        for old in (2, 1):
            previous = source.with_name(f"{source.name}.{old - 1}") if old > 1 else source
            if previous.exists():
                os.replace(previous, source.with_name(f"{source.name}.{old}"))
        source.touch()
        return copy
    copy.step()
    if what == "reopen":
        while copy.step():
            pass
        closed.append(target.read_bytes())
        target.unlink()
        copy.reopen()
    elif what in ("kill", "tear"):
        copy.close()
        if what == "tear":
            with open(target, "ab") as file:
                file.write(b"2026-01-01T00:00:00.9Z stdout F to")
        return LogCopy(str(source), str(target), mark)
    return copy
