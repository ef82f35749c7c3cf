"""The protocol between the supervisor and the process that components are forked from."""

import json
import os
import socket
import threading
from pathlib import Path

from cli.up.supervisor import is_alive
from cli.up.zygote import Order, scripts, serve


def ask(*orders: Order, shared: tuple[str, ...] = ()) -> list[dict[str, object]]:
    """What the zygote answers to each order, up to the end of its channel."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"".join(order.encode() for order in orders))
        ours.shutdown(socket.SHUT_WR)
        assert serve(theirs, shared) is None
        theirs.close()
        return [json.loads(line) for line in ours.makefile("rb")]


def test_order_survives_the_wire() -> None:
    order = Order(["/bin/kubeto-node", "--v=2", "a b\n"], "/run/node.pid", {"A": "ü"}, "/proc/1/ns/net", "/log")
    assert Order.decode(order.encode()) == order
    assert order.encode().count(b"\n") == 1
    assert order.script == "kubeto-node"


def test_every_component_can_be_forked() -> None:
    assert {"kubeto-apiserver", "kubeto-controller-manager", "kubeto-scheduler", "kubeto-node"} <= scripts().keys()
    assert "etcd" not in scripts()


def test_refuses_what_it_does_not_know_and_goes_on(tmp_path: Path) -> None:
    pid_file = str(tmp_path / "pid")
    answers = ask(Order(["/bin/etcd"], pid_file), Order(["/bin/etcd"], pid_file))
    assert [list(answer) for answer in answers] == [["error"], ["error"]]
    assert not os.path.exists(pid_file)


def test_refuses_a_namespace_that_is_gone(tmp_path: Path) -> None:
    (answer,) = ask(Order(["kubeto-cni"], str(tmp_path / "pid"), netns=str(tmp_path / "absent")))
    assert "absent" in str(answer["error"])


def test_refuses_to_fork_a_process_with_threads(tmp_path: Path) -> None:
    """Another thread may hold a lock at that moment, which nobody in the child would ever release."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        (answer,) = ask(Order(["kubeto-cni"], str(tmp_path / "pid")))
    finally:
        done.set()
        thread.join()
    assert "threads" in str(answer["error"])


def test_a_process_is_known_by_its_whole_command_line() -> None:
    """Another cluster's component, or a reused pid, is not taken for ours."""
    ours = Path("/proc/self/cmdline").read_text().strip("\0").split("\0")
    assert is_alive(os.getpid(), ours[-1:])
    assert not is_alive(os.getpid(), [*ours, "--more"])
    assert not is_alive(os.getpid(), ["kubeto-apiserver"])
    assert not is_alive(2**22 + 1, ours)
