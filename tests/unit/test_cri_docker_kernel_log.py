"""The kernel's log: whose process was killed for want of memory."""

import os
from pathlib import Path

from node.cri_docker.kernel_log import KernelLog

ID, OTHER = "ab" * 32, "cd" * 32
VICTIM = (
    "6,167,80551,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={0},mems_allowed=0,"
    "oom_memcg=/kubepods/burstable/podx/{0},task_memcg=/kubepods/burstable/podx/{0},task=tail,pid=41,uid=0\n"
)


def test_only_what_came_after_the_start_counts(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    path.write_text(VICTIM.format(OTHER))
    log = KernelLog(str(path))
    assert not log.killed(OTHER) and not log.killed(ID)
    with path.open("a") as file:
        file.write(VICTIM.format(ID))
    assert log.killed(ID) and not log.killed(OTHER)
    log.close()
    assert log.killed(ID)


def test_systemd_scopes_and_damaged_lines(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    path.touch()
    log = KernelLog(str(path))
    path.write_text(f"4,1,1,-;oom-kill:task_memcg=/a/docker-{ID}.scope,task=x\n")
    assert log.killed(ID)
    path.write_bytes(os.urandom(300) + b"oom-kill:task_memcg=,task=x\n")
    assert not log.killed("")


def test_a_log_that_may_not_be_read(tmp_path: Path) -> None:
    log = KernelLog(str(tmp_path / "none"))
    assert not log.killed(ID)
    log.close()
