"""What kubectl prints: transcripts of sessions, replayed on a cluster with the in-memory runtime.

A transcript is a text file, run in a namespace of its own. ``$ command`` is given to kubectl as one would type it
(``<<E`` takes standard input up to a line ``E``); below stands what it prints, standard error behind standard output.
In it ``*`` matches anything within a line and ``...`` any number of lines; how many blanks there are does not matter.
``~ command`` is repeated until it prints that. ``[1]`` as the last line is the exit code of a command that fails.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.local_cluster import ROOT, LocalCluster, local_cluster
from tests.waiting import eventually

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
_SETTING = re.compile(r"[A-Z_]+=")
_CODE = re.compile(r"\[(\d+)\]")


@dataclass
class Step:
    """One command: ``line`` is where it stands in its file."""

    line: int
    command: str
    input: str
    patient: bool
    expected: list[str] = field(default_factory=list)

    @property
    def code(self) -> int:
        last = _CODE.fullmatch(self.expected[-1]) if self.expected else None
        return int(last[1]) if last else 0

    @property
    def pattern(self) -> str:
        lines = [line for line in self.expected if not _CODE.fullmatch(line)]
        return "".join("(?:.*\n)*" if line == "..." else _line(line) for line in lines)


def _line(text: str) -> str:
    return re.escape(_blanks(text)).replace(r"\*", ".*") + "\n"


def _blanks(text: str) -> str:
    return re.sub(r"[ \t]+", " ", text).strip()


def read(path: Path) -> list[Step]:
    steps: list[Step] = []
    lines = iter(enumerate(path.read_text().splitlines(), 1))
    for number, line in lines:
        if line.startswith(("$ ", "~ ")):
            command, _, end = line[2:].partition(" <<")
            given = ""
            while end and (text := next(lines)[1]) != end:
                given += text + "\n"
            steps.append(Step(number, command, given, line.startswith("~")))
        elif line and not line.startswith("#"):
            steps[-1].expected.append(line)
    return steps


@dataclass
class Session:
    """Runs steps with kubectl; ``kubeconfig`` says in which namespace."""

    cluster: LocalCluster
    kubeconfig: Path

    def check(self, step: Step) -> None:
        if step.patient:
            eventually(lambda: self._matches(step))
        else:
            self._matches(step)

    def _matches(self, step: Step) -> bool:
        code, told = self._run(step)
        shown = "".join(_blanks(line) + "\n" for line in told.splitlines() if line.strip())
        wanted = "\n".join(step.expected)
        assert re.fullmatch(step.pattern, shown), f"line {step.line}: {step.command}\n{shown}\n--- expected:\n{wanted}"
        assert code == step.code, f"line {step.line}: {step.command}: exit code {code}\n{shown}"
        return True

    def _run(self, step: Step) -> tuple[int, str]:
        words = shlex.split(step.command)
        first = next(i for i, word in enumerate(words) if not _SETTING.match(word))
        settings = dict(word.split("=", 1) for word in words[:first])
        done = subprocess.run(
            [self.cluster.kubectl_program, *words[first:]],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), **settings},
            input=step.input, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT,
        )  # fmt: skip
        return done.returncode, f"{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def fake_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    directory = tmp_path_factory.mktemp("kubeto") / "cluster"
    with local_cluster(directory, "--nodes=2", "--runtime=fake") as running:
        yield running


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(fake_cluster: LocalCluster, path: Path, tmp_path: Path) -> None:
    namespace = f"t-{path.stem}"
    fake_cluster.kubectl("create", "namespace", namespace)
    eventually(lambda: fake_cluster.kubectl("get", "serviceaccount", "default", "-n", namespace))
    own = shutil.copy(fake_cluster.kubeconfig, tmp_path / "kubeconfig")
    fake_cluster.kubectl("config", "set-context", "--current", f"--namespace={namespace}", f"--kubeconfig={own}")
    session = Session(fake_cluster, own)
    for step in read(path):
        session.check(step)
