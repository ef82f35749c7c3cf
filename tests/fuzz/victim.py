"""An API server under attack, and how it is seen to have borne it: alive, answering others, no larger than before."""

import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.control_plane import ApiServerProgram
from tests.fuzz.wire import Answer, Wire, message, tls
from tests.waiting import eventually

_FAULT = re.compile(r"Traceback|Request failed|Write failed|Watch failed|never retrieved|Exception in|Unhandled")
_GRPC_ITSELF = re.compile(r"^\S+ ERROR +cygrpc: Unexpected \[DecodeError\].*?^google\S+DecodeError[^\n]*$", re.M | re.S)
"""How grpc tells of a message that is none, before any of our code is asked."""
LAG = 3.0
"""Seconds that a stranger's request may take meanwhile. The machine is shared; a server that stalls stalls longer."""
GROWTH = 160 << 20
"""Bytes: what an attack needs while it goes on, which the allocator keeps. ``test_growth`` looks for less."""


@dataclass
class Victim:
    """``call`` sends one request on a kept connection. ``check`` fails if the server has suffered."""

    server: ApiServerProgram
    calls: int = 0
    session: Any = None
    """What ``requests`` talks through, for tools that bring their own client."""
    _wire: Wire | None = None
    _lags: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tls = tls(self.server)
        process = self.server.program.process
        assert process is not None
        self._process = psutil.Process(process.pid)
        self.warm()
        self._before = self._size()
        self._log_at = self.server.program.log.stat().st_size
        self._stop = threading.Event()
        self._stranger = threading.Thread(target=self._live_on, daemon=True)
        self._stranger.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def warm(self) -> None:
        """What the server loads at first use counts for nothing."""
        for path in ("/openapi/v2", "/openapi/v3", "/metrics", "/apis", "/docs"):
            self.call("GET", path)

    def connect(self) -> Wire:
        return Wire(self.server, self._tls)

    def call(self, method: str, path: str | bytes, body: bytes = b"", headers: Any = (), **more: Any) -> Answer:
        """The answer; a server that just closes the connection has answered 0."""
        return self.raw(message(method, path, body, headers, **more), method)

    def raw(self, data: bytes, method: str = "GET") -> Answer:
        self.calls += 1
        if self._wire is None:
            self._wire = self.connect()
        self._wire.send(data)
        answer = self._wire.answer(method)
        if answer is None or dict(answer.headers).get(b"connection") == b"close":
            self._wire.close()
            self._wire = None
        return answer or Answer(0, [], b"")

    def drop(self) -> None:
        """Begin a new connection with the next call."""
        if self._wire:
            self._wire.close()
            self._wire = None

    def faults(self) -> str:
        """What the log tells of errors that nobody foresaw."""
        with self.server.program.log.open("rb") as log:
            log.seek(self._log_at)
            text = log.read().decode(errors="replace")
        text = _GRPC_ITSELF.sub("", text)
        found = _FAULT.search(text)
        return text[max(0, found.start() - 300) : found.start() + 3000] if found else ""

    def check(self) -> None:
        self._stop.set()
        self._stranger.join()
        self.drop()
        assert self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE, "the server is gone"
        assert not self.faults(), self.faults()
        assert self._lags and max(self._lags) < LAG, f"others waited {max(self._lags, default=99):.1f} s"
        memory, files, tasks = self._before
        eventually(lambda: self._size()[1] <= files + 2)
        eventually(lambda: self._size()[2] <= tasks + 4)
        grown = self._size()[0] - memory
        assert grown < GROWTH, f"{grown >> 20} MiB more after {self.calls} requests"

    def _live_on(self) -> None:
        """A stranger's requests all the while."""
        while not self._stop.is_set():
            began = time.monotonic()
            assert self.server.request("GET", "/api/v1/namespaces/default").code == 200
            self._lags.append(time.monotonic() - began)
            self._stop.wait(0.1)

    def _size(self) -> tuple[int, int, int]:
        """Memory, open files, tasks."""
        text = self.server.request("GET", "/metrics").text
        tasks = re.search(r"^kubeto_tasks (\d+)", text, re.MULTILINE)
        return self._process.memory_info().rss, self._process.num_fds(), int(tasks[1]) if tasks else 0
