"""Usage as cgroups of either version tell it."""

from pathlib import Path

from node.cgroups.cgroup import Cgroup, Usage, usage
from node.cgroups.figures import device_rows, figures


def write(folder: Path, **files: str) -> str:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return str(folder)


def test_version_1(tmp_path: Path) -> None:
    memory = {
        "memory__usage_in_bytes": "1000\n",
        "memory__memsw__usage_in_bytes": "1200\n",
        "memory__limit_in_bytes": "9223372036854771712\n",
        "memory__memsw__limit_in_bytes": "5000\n",
        "memory__stat": "cache 1\ntotal_inactive_file 300\ntotal_rss 400\ntotal_pgfault 5\ntotal_pgmajfault 6\n",
    }
    folders = {
        "memory": write(tmp_path / "memory", **memory),
        "cpuacct": write(tmp_path / "cpuacct", cpuacct__usage="77\n"),
        "pids": write(tmp_path / "pids", pids__current="3\n"),
    }
    assert usage(Cgroup(folders)) == Usage(77, 1000, 700, 400, 5, 6, 0, 200, 5000, 3)


def test_version_2(tmp_path: Path) -> None:
    files = {
        "cpu__stat": "usage_usec 12\nuser_usec 8\n",
        "memory__current": "1000\n",
        "memory__max": "max\n",
        "memory__swap__current": "50\n",
        "memory__swap__max": "100\n",
        "memory__stat": "anon 400\ninactive_file 300\npgfault 5\npgmajfault 6\n",
        "pids__current": "3\n",
    }
    cgroup = Cgroup({"": write(tmp_path / "c", **files)})
    assert cgroup.v2
    assert usage(cgroup) == Usage(12_000, 1000, 700, 400, 5, 6, 0, 50, 100, 3)


def test_a_container_that_has_just_ended_uses_nothing(tmp_path: Path) -> None:
    assert usage(Cgroup({"": str(tmp_path / "gone")})) == Usage()


def test_the_rarer_figures_of_version_2(tmp_path: Path) -> None:
    files = {
        "cpu__stat": "usage_usec 12\nuser_usec 8000000\nsystem_usec 4000000\nnr_periods 7\nthrottled_usec 3000000\n",
        "memory__stat": "file 300\nfile_mapped 20\npgfault 5\npgmajfault 6\nkernel 9\n",
        "memory__events": "low 0\nmax 4\noom_kill 2\n",
        "cpu__pressure": "some avg10=0.00 total=5000000\nfull avg10=0.00 total=2000000\n",
        "io__stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0\n",
        "pids__max": "max\n",
    }
    cgroup = Cgroup({"": write(tmp_path / "c", **files)})
    seen = figures(cgroup)
    assert (seen["user_seconds"], seen["system_seconds"], seen["throttled_seconds"]) == (8, 4, 3)
    assert (seen["failcnt"], seen["oom_kills"], seen["threads_max"], seen["total_pgfault"]) == (4, 2, 0, 5)
    assert (seen["cpu_some"], seen["cpu_full"]) == (5, 2) and "io_some" not in seen
    rows = device_rows(cgroup)
    assert rows == {
        "bytes": [("8:0", "Read", 10), ("8:0", "Write", 20)],
        "operations": [("8:0", "Read", 1), ("8:0", "Write", 2)],
    }
