"""Call one plugin: ours in a thread of this process, any other by execution. Same contract either way."""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from cni import plugin
from cni.spec import DECODE_FAILURE, IO_FAILURE, TIMED_OUT, CniError, Object, Request

_TIMEOUT_SECONDS = 60.0


async def call(kind: str, request: Request, bin_dirs: Sequence[str]) -> Object | None:
    """The plugin's result (None: it printed nothing). Raises CniError: its refusal, or that it is absent or late."""
    if kind == plugin.TYPE:
        return await _in_thread(request)
    return await _execute(find(kind, bin_dirs), request)


def find(kind: str, bin_dirs: Sequence[str]) -> str:
    """The plugin's file, or ``kind`` itself for ours. Raises CniError."""
    if kind == plugin.TYPE:
        return kind
    for directory in bin_dirs:
        candidate = Path(directory) / kind
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return str(candidate)
    raise CniError(IO_FAILURE, f"CNI plugin {kind} is not installed", f"looked in {', '.join(bin_dirs)}")


async def _in_thread(request: Request) -> Object | None:
    """A thread cannot be stopped: when cancelled, wait for its end, so that an undoing DEL does not race with it."""
    work = asyncio.ensure_future(asyncio.to_thread(plugin.execute, request))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


async def _execute(program: str, request: Request) -> Object | None:
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, **request.environment()}
    try:
        with _readable(json.dumps(request.config).encode()) as config:
            process = await asyncio.create_subprocess_exec(
                program, env=environment, stdin=config, stdout=pipe, stderr=pipe
            )
    except OSError as error:
        raise CniError(IO_FAILURE, "the CNI plugin cannot be started", str(error)) from error
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            out, err = await process.communicate()
    except TimeoutError as error:
        raise CniError(TIMED_OUT, f"{program} {request.command} took over {_TIMEOUT_SECONDS:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise _refusal(program, process.returncode or 0, out, err)
    return _decode(program, out) if out.strip() else None


def _readable(data: bytes) -> BinaryIO:
    """A file in memory: a pipe would have to be fed while the plugin may end at any moment."""
    file = os.fdopen(os.memfd_create("cni"), "w+b")
    file.write(data)
    file.seek(0)
    return file


def _refusal(program: str, code: int, out: bytes, err: bytes) -> CniError:
    try:
        said = json.loads(out)
        return CniError(int(said["code"]), str(said["msg"]), str(said.get("details") or ""))
    except (ValueError, KeyError, TypeError):  # it died without an error object: say what there is
        text = (err or out).decode(errors="replace").strip()
        return CniError(IO_FAILURE, f"{program} failed with exit code {code}", text[:1000])


def _decode(program: str, out: bytes) -> Object:
    try:
        result = json.loads(out)
    except ValueError as error:
        raise CniError(DECODE_FAILURE, f"{program} printed no JSON", out[:1000].decode(errors="replace")) from error
    if not isinstance(result, dict):
        raise CniError(DECODE_FAILURE, f"{program} printed no JSON object")
    return result
