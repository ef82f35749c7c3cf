"""Run upstream's own end-to-end tests (``build.sh`` makes the program) against a cluster of this checkout.

    python -m tests.upstream.run [--focus REGEX] [--skip REGEX] [--nodes 4]

Prints a line a failed test and a summary; the whole output is in ``.kubeto/upstream/out.log``. Ends with 1 if a test
fails that is not among ``SKEWED``: those ask for what Kubernetes itself no longer does.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".kubeto" / "upstream"
_ENDED = re.compile(r'\{"msg":"(PASSED|FAILED) (.*?)","total"')

_NO_SECRETS = "token Secrets are not made since 1.24"
SKEWED = {
    "[sig-auth] ServiceAccounts should mount an API token into pods": _NO_SECRETS,
    "[sig-auth] ServiceAccounts should allow opting out of API token automount": _NO_SECRETS,
}


def main() -> int:
    options = _options()
    subprocess.run(["bash", Path(__file__).with_name("build.sh"), HOME], check=True)
    cluster = ["--name", "upstream", "--dir", str(HOME / "cluster")]
    place = ["--port", "7443", "--etcd-port", "7379", "--node-network", "172.30.99.0/24"]
    kubeto = [sys.executable, "-m", "cli"]
    try:
        subprocess.run([*kubeto, "up", "--mode", "process", *cluster, *place], check=True, cwd=ROOT)
        _run_tests(options)
    finally:
        subprocess.run([*kubeto, "down", "--clean", "--dir", cluster[-1]], check=True, cwd=ROOT)
    return _report((HOME / "out.log").read_text(errors="replace"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--focus", default=r"\[Conformance\]", help="which tests (default: %(default)s)")
    parser.add_argument(
        "--skip", default=r"\[Serial\]|\[Slow\]|\[Disruptive\]", help="but not these (default: %(default)s)"
    )
    parser.add_argument(
        "--nodes", type=int, default=4, help="tests at once; 1 for [Serial] ones (default: %(default)s)"
    )
    return parser.parse_args()


def _run_tests(options: argparse.Namespace) -> None:
    ginkgo = [HOME / "bin" / "ginkgo", f"--nodes={options.nodes}", "--noColor", f"--focus={options.focus}"]
    config = HOME / "cluster" / "admin.conf"
    its = [f"--kubeconfig={config}", "--provider=local", "--num-nodes=3", "--disable-log-dump"]
    quiet = ["--dump-logs-on-failure=false"]
    with (HOME / "out.log").open("w") as log:
        subprocess.run(
            [*ginkgo, f"--skip={options.skip}", HOME / "bin" / "e2e.test", "--", *its, *quiet],
            cwd=HOME / "go/src/k8s.io/kubernetes",  # where the tests find their manifests
            env=os.environ | {"PATH": f"{HOME / 'bin'}:{os.environ['PATH']}"},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,  # the report tells what failed
        )


def _report(log: str) -> int:
    ends = {name.split(" [Conformance]")[0].strip(): end for end, name in _ENDED.findall(log)}
    failed = sorted(name for name, end in ends.items() if end == "FAILED")
    for name in failed:
        print(f"FAILED {name}" + (f"  (expected: {SKEWED[name]})" if name in SKEWED else ""))
    print(f"{len(ends)} tests: {len(ends) - len(failed)} passed, {len(failed)} failed")
    return int(not ends or any(name not in SKEWED for name in failed))


if __name__ == "__main__":
    sys.exit(main())
