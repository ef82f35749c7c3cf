"""logind, and the one verb of systemd's that goes with it, on a real D-Bus daemon of its own."""

import asyncio
import os
import select
from pathlib import Path
from typing import Self

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

_PATH, _MANAGER = "/org/freedesktop/login1", "org.freedesktop.login1.Manager"


class FakeLogind:
    """``delay`` is InhibitDelayMaxSec; SIGHUP reads it again from ``folder``. ``inhibitors`` are locks' other ends."""

    def __init__(self, folder: Path, delay: float = 30.0) -> None:
        self.folder, self.delay, self.preparing = folder, delay, False
        self.inhibitors: list[int] = []
        self.address = f"unix:path={folder}/bus"

    async def __aenter__(self) -> Self:
        command = ("dbus-daemon", "--session", f"--address={self.address}", "--nofork", "--print-address")
        self._daemon = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-3)
        assert self._daemon.stdout and await self._daemon.stdout.readline()
        self._bus = MessageBus(self.address, BusType.SYSTEM, negotiate_unix_fd=True)
        await self._bus.connect()
        self._bus.add_message_handler(self._answer)
        for name in ("org.freedesktop.login1", "org.freedesktop.systemd1"):
            await self._bus.request_name(name)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._bus.disconnect()
        self._daemon.terminate()
        await self._daemon.wait()
        for end in self.inhibitors:
            os.close(end)

    @property
    def held(self) -> int:
        """How many locks are held: the others' ends have been closed."""
        hung_up = select.poll()
        for end in self.inhibitors:
            hung_up.register(end, 0)
        return len(self.inhibitors) - len(hung_up.poll(0))

    async def announce(self, shutting_down: bool) -> None:
        self.preparing = shutting_down
        await self._bus.send(Message.new_signal(_PATH, _MANAGER, "PrepareForShutdown", "b", [shutting_down]))

    def _answer(self, call: Message) -> Message | bool | None:
        if call.message_type is not MessageType.METHOD_CALL:
            return None
        if call.member == "Get":
            values = {
                "InhibitDelayMaxUSec": Variant("t", int(self.delay * 1e6)),
                "PreparingForShutdown": Variant("b", self.preparing),
            }
            return Message.new_method_return(call, "v", [values[call.body[1]]])
        if call.member == "Inhibit":
            assert call.body[0] == "shutdown" and call.body[3] == "delay"
            self._handing = asyncio.create_task(self._hand_out(call))
            return True
        if call.member == "KillUnit":
            text = (self.folder / "99-kubelet.conf").read_text()
            self.delay = float(text.rpartition("InhibitDelayMaxSec=")[2])
            return Message.new_method_return(call)
        return None

    async def _hand_out(self, call: Message) -> None:
        mine, theirs = os.pipe()
        self.inhibitors.append(mine)
        await self._bus.send(Message.new_method_return(call, "h", [0], [theirs]))
        os.close(theirs)
