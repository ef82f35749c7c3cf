"""``kubeto logs`` and ``kubeto exec``: what a container says, and a command in it."""

import contextlib
import os
import selectors
import signal
import struct
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from typing import Annotated

import orjson
import typer
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from apimachinery.errors import BadRequest, from_status
from cli.api import ApiUnreachable, Object
from cli.resources import targets
from cli.session import Container, Namespace, Selector, Session, selection

_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"]


def pod_of(session: Session, word: str) -> str:
    """The name of a pod, or of one pod of a workload such as ``deploy/web``."""
    if "/" not in word:
        return word
    target = targets(session.resources, [word])[0]
    if target.resource.plural == "pods":
        return target.names[0]
    owner = session.api.get(session.path(target.resource, target.names[0]))
    found = owner["spec"].get("selector", {})
    labels = found.get("matchLabels", found)
    chosen = ",".join(f"{k}={v}" for k, v in labels.items())
    pods = session.api.get_list(session.path(session.resources.one("pods")), selection(chosen))
    if not pods:
        raise BadRequest(f"{word} has no pods")
    running = [p for p in pods if p["status"].get("phase") == "Running"]
    return str((running or pods)[0]["metadata"]["name"])


def logs(
    word: Annotated[str, typer.Argument(metavar="POD | TYPE/NAME")] = "",
    container: Container = "",
    namespace: Namespace = "",
    selector: Selector = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as more is written.")] = False,
    previous: Annotated[bool, typer.Option("--previous", "-p", help="Of the container's last life.")] = False,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="Each line with its time.")] = False,
    tail: Annotated[int, typer.Option("--tail", help="The last lines only; -1 = all.")] = -1,
    since: Annotated[str, typer.Option("--since", help="Only what is newer than 5s, 2m or 3h.")] = "",
) -> None:
    """Print a container's log: 'kubeto logs web-0 -f', 'kubeto logs deploy/web --tail=20', 'kubeto logs -l app=web'."""
    session = Session(namespace)
    wanted = {"follow": follow, "previous": previous, "timestamps": timestamps}
    query = {name: "true" for name, on in wanted.items() if on}
    query |= {"container": container} if container else {}
    query |= {"tailLines": str(tail)} if tail >= 0 else {}
    query |= {"sinceSeconds": str(_seconds(since))} if since else {}
    pods = session.resources.one("pods")
    if selector:
        names = [p["metadata"]["name"] for p in session.api.get_list(session.path(pods), selection(selector))]
    elif word:
        names = [pod_of(session, word)]
    else:
        raise BadRequest("name a pod, or select some with -l")
    for name in names:
        for line in session.api.stream(session.path(pods, name, "log"), query):
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()


def _seconds(text: str) -> int:
    try:
        return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1:]]
    except (KeyError, ValueError) as error:
        raise BadRequest(f"--since={text} is not a duration such as 5s, 2m or 3h") from error


def exec_(
    pod: Annotated[str, typer.Argument(metavar="POD | TYPE/NAME")],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND [ARG...]")],
    container: Container = "",
    namespace: Namespace = "",
    stdin: Annotated[bool, typer.Option("--stdin", "-i", help="Pass standard input on.")] = False,
    terminal: Annotated[bool, typer.Option("--tty", "-t", help="Give the command a terminal.")] = False,
) -> None:
    """Run a command in a container: 'kubeto exec web-0 -- ls /', 'kubeto exec -it web-0 -- sh'."""
    session = Session(namespace)
    on = {"stdin": stdin, "stdout": True, "stderr": not terminal, "tty": terminal}
    query = [(name, "true") for name, wanted in on.items() if wanted]
    query += [("command", word) for word in command] + ([("container", container)] if container else [])
    path = session.path(session.resources.one("pods"), pod_of(session, pod), "exec")
    with session.api.websocket(path, query, _PROTOCOLS) as socket, _raw_terminal(terminal and stdin):
        status = _Terminal(socket, stdin, terminal).run()
    if status.get("status") != "Success":
        raise typer.Exit(_exit_code(status))


def _exit_code(status: Object) -> int:
    """The command's exit code. Raises ApiError where the command could not run at all."""
    for cause in (status.get("details") or {}).get("causes", ()):
        if cause.get("reason") == "ExitCode":
            print(f"command terminated with exit code {cause['message']}", file=sys.stderr)
            return int(cause["message"])
    raise from_status(status)


@contextlib.contextmanager
def _raw_terminal(wanted: bool) -> Iterator[None]:
    if not wanted or not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


class _Terminal:
    """One exec session: a thread sends standard input, the main one prints what comes."""

    def __init__(self, socket: ClientConnection, stdin: bool, terminal: bool) -> None:
        self._socket, self._stdin, self._terminal = socket, stdin, terminal
        self._done_read, self._done_write = os.pipe()

    def run(self) -> Object:
        if self._terminal and sys.stdout.isatty():
            self._send_size()
            signal.signal(signal.SIGWINCH, lambda *_: self._send_size())
        sender = threading.Thread(target=self._send_stdin, name="stdin", daemon=True)
        if self._stdin:
            sender.start()
        try:
            return self._receive()
        finally:
            os.write(self._done_write, b"x")

    def _receive(self) -> Object:
        outputs = {_STDOUT: sys.stdout.buffer, _STDERR: sys.stderr.buffer}
        try:
            for message in self._socket:
                data = message.encode() if isinstance(message, str) else message
                if data[:1] and data[0] in outputs:
                    outputs[data[0]].write(data[1:])
                    outputs[data[0]].flush()
                elif data[:1] and data[0] == _ERROR:
                    status: Object = orjson.loads(data[1:])
                    return status
        except ConnectionClosed as error:
            raise ApiUnreachable(f"the connection broke: {error}") from error
        raise ApiUnreachable("the connection ended without the command's status")

    def _send_size(self) -> None:
        rows, columns = struct.unpack("HH", _window_size())
        self._send(_RESIZE, orjson.dumps({"Width": columns, "Height": rows}))

    def _send_stdin(self) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(self._done_read, selectors.EVENT_READ)
            try:
                ready.register(sys.stdin, selectors.EVENT_READ)
            except PermissionError:  # a plain file is always readable and cannot be waited for
                self._send(_STDIN, sys.stdin.buffer.read())
                self._close_stdin()
                return
            while not any(key.fd == self._done_read for key, _ in ready.select()):
                data = os.read(sys.stdin.fileno(), 32768)
                if not data:
                    self._close_stdin()
                    return
                self._send(_STDIN, data)

    def _close_stdin(self) -> None:
        if self._socket.subprotocol == _PROTOCOLS[0]:
            self._send(_CLOSE, bytes([_STDIN]))

    def _send(self, channel: int, data: bytes) -> None:
        with contextlib.suppress(ConnectionClosed):
            self._socket.send(bytes([channel]) + data)


def _window_size() -> bytes:
    import fcntl

    return fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, b"\0" * 8)[:4]
