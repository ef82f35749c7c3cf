"""Ports for tests: never one that somebody listens on, never one twice."""

import socket
import subprocess
import sys

import pytest

from tests import ports


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "127.0.0.2", "::", "::ffff:127.0.0.1"])
def test_a_port_that_anybody_listens_on_is_passed_over(address: str) -> None:
    both = ":" in address
    if both and not socket.has_dualstack_ipv6():
        pytest.skip("needs IPv6")
    family = socket.AF_INET6 if both else socket.AF_INET
    with socket.create_server((address, 0), family=family, dualstack_ipv6=both) as other:
        assert not ports._is_free(other.getsockname()[1])


def test_no_port_is_given_twice_also_not_in_two_processes() -> None:
    ask = "from tests.ports import free_port; print(*(free_port() for _ in range(100)), flush=True); input()"
    command = [sys.executable, "-c", ask]
    two = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    given = [int(port) for one in two if one.stdout for port in one.stdout.readline().split()]
    for one in two:
        one.communicate("\n")
    given += [ports.free_port() for _ in range(3)]
    assert len(set(given)) == len(given) == 203
    assert max(given) < ports._first_outgoing()
