"""logind over D-Bus: delaying the machine's shutdown, and hearing of it.

An inhibitor lock of mode ``delay`` is a file descriptor: as long as it is open, a shutdown waits, up to logind's
``InhibitDelayMaxSec``. Source: systemd's "Inhibitor Locks" and ``org.freedesktop.login1(5)``; kubelet
``nodeshutdown/systemd``.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final, Self

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError

from apimachinery import whole_file

_NAME, _PATH, _MANAGER = "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"
_SIGNAL: Final = "PrepareForShutdown"
CONFIG_FOLDER: Final = "/etc/systemd/logind.conf.d"
_CALL_SECONDS: Final = 10.0


class LogindError(Exception):
    """The bus or logind is not there, or refuses."""


class Logind:
    """A connection to the system's bus. ``on_shutdown`` hears True when a shutdown begins, False when it is off."""

    def __init__(self, bus: MessageBus, config_folder: str = CONFIG_FOLDER) -> None:
        self._bus, self._folder = bus, config_folder
        self._lock: int | None = None

    @classmethod
    async def connect(cls, on_shutdown: Callable[[bool], None], config_folder: str = CONFIG_FOLDER) -> Self:
        """Raises LogindError."""
        bus = MessageBus(bus_type=BusType.SYSTEM, negotiate_unix_fd=True)
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                await bus.connect()
        except (OSError, TimeoutError, DBusError, EOFError) as error:
            raise LogindError(f"no system bus: {error}") from error

        def hear(message: Message) -> None:
            if message.message_type is MessageType.SIGNAL and (message.interface, message.member) == (
                _MANAGER,
                _SIGNAL,
            ):
                on_shutdown(bool(message.body[0]))

        self = cls(bus, config_folder)
        bus.add_message_handler(hear)
        rule = f"type='signal',interface='{_MANAGER}',member='{_SIGNAL}',path='{_PATH}'"
        try:
            await self._call(
                "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", "s", rule
            )
        except LogindError:
            self.close()
            raise
        return self

    async def disconnected(self) -> None:
        """Returns when the connection is gone."""
        await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self.release()
        self._bus.disconnect()

    async def preparing(self) -> bool:
        """Whether the machine is shutting down."""
        return bool(await self._property("PreparingForShutdown"))

    async def longest_delay(self) -> float:
        """Seconds that logind waits for those who hold locks."""
        return int(await self._property("InhibitDelayMaxUSec")) / 1e6

    async def allow_delay(self, seconds: float) -> None:
        """Make logind wait at least so long. Raises LogindError when it does not."""
        if await self.longest_delay() >= seconds:
            return
        text = f"# Written by the node agent\n[Login]\nInhibitDelayMaxSec={seconds:.0f}\n"
        try:
            whole_file.replace(os.path.join(self._folder, "99-kubelet.conf"), text.encode())
        except OSError as error:
            raise LogindError(f"cannot set logind's InhibitDelayMaxSec: {error}") from error
        systemd = "org.freedesktop.systemd1"
        unit = ("systemd-logind.service", "all", 1)  # SIGHUP: read the configuration again
        await self._call(systemd, "/org/freedesktop/systemd1", f"{systemd}.Manager", "KillUnit", "ssi", *unit)
        if (now := await self.longest_delay()) < seconds:
            raise LogindError(f"logind's InhibitDelayMaxSec stays {now:.0f} s, which is less than {seconds:.0f} s")

    async def inhibit(self) -> None:
        """Hold a lock that delays a shutdown until ``release``."""
        why = ("shutdown", "kubelet", "Kubelet needs time to handle node shutdown", "delay")
        reply = await self._call(_NAME, _PATH, _MANAGER, "Inhibit", "ssss", *why)
        self.release()
        self._lock = reply.unix_fds[reply.body[0]]

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _property(self, name: str) -> Any:
        about = (_MANAGER, name)
        reply = await self._call(_NAME, _PATH, "org.freedesktop.DBus.Properties", "Get", "ss", *about)
        held: Variant = reply.body[0]
        return held.value

    async def _call(self, to: str, path: str, interface: str, member: str, signature: str, *body: object) -> Message:
        asked = Message(
            destination=to, path=path, interface=interface, member=member, signature=signature, body=list(body)
        )
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                reply = await self._bus.call(asked)
        except (OSError, TimeoutError, DBusError, EOFError) as error:
            raise LogindError(f"{member}: {error}") from error
        if reply is None or reply.message_type is MessageType.ERROR:
            raise LogindError(f"{member}: {reply.error_name if reply else 'no answer'} {reply.body if reply else ''}")
        return reply
