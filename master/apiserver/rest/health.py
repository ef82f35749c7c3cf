"""Whether the server is well, and what the cluster's other processes ask before anything else.

They ask while everything starts, or while it does not work, so ``early`` answers without FastAPI, which is imported for
the first request that needs it: that takes 0.4 s and 25 MB.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

import orjson

from .request import Request
from .respond import send_bytes

Check = Callable[[], Awaitable[str]]
"""Why a part is not well; "" when it is."""


@dataclass(frozen=True, slots=True)
class Health:
    """The checks behind ``/livez``, ``/readyz`` and ``/healthz``, by name."""

    live: Mapping[str, Check]
    ready: Mapping[str, Check]

    async def report(self, path: str, only: str, excluded: frozenset[str], verbose: bool) -> tuple[int, str]:
        """Status code and text, as upstream writes them."""
        checks = self.ready if path == "readyz" else self.live
        if only:
            if only not in checks:
                return 404, "404 page not found\n"
            checks = {only: checks[only]}
        lines, failed = [], []
        asked = [name for name in checks if name not in excluded]
        reasons = dict(zip(asked, await asyncio.gather(*(checks[name]() for name in asked)), strict=True))
        for name in checks:
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
                continue
            reason = reasons[name]
            lines.append(f"[-]{name} failed: {reason}" if reason else f"[+]{name} ok")
            failed.extend([name] if reason else [])
        if failed:
            return 500, "\n".join([*lines, f"{path} check failed"]) + "\n"
        return 200, "\n".join([*lines, f"{path} check passed"]) + "\n" if verbose else "ok"


def early(health: Health, inside: Mapping[str, int]) -> dict[str, Callable[[Request], Awaitable[None]]]:
    """Handlers by path, whatever the method, as upstream; one that ends in a slash is that of all paths with one more
    part."""

    async def check(request: Request) -> None:
        path, _, only = request.scope["path"].strip("/").partition("/")
        asked = parse_qs(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        code, text = await health.report(path, only, frozenset(asked.get("exclude", ())), "verbose" in asked)
        await send_bytes(request, code, text.encode(), b"text/plain; charset=utf-8")

    async def ports(request: Request) -> None:
        await send_bytes(request, 200, orjson.dumps(dict(inside)))

    checks = {f"/{path}{end}": check for path in ("livez", "readyz", "healthz") for end in ("", "/")}
    return {**checks, "/kubeto/v1/inside": ports}
