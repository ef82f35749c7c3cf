"""postStart and preStop: exec, httpGet, sleep (and tcpSocket, which does nothing).

Source: kubelet ``lifecycle/handlers.go``.
"""

import asyncio
from typing import Final

from node.agent import http_get
from node.agent.pod_state import Object
from node.agent.probes import action_url
from node.cri.runtime import Runtime, RuntimeFault

_HTTP_SECONDS: Final = 60.0


class HookFailed(Exception):
    """The hook did not succeed; the message is what the event says."""


async def run_hook(
    runtime: Runtime, hook: Object, spec: Object, container_id: str, pod_ip: str, timeout: int = 0
) -> None:
    """Run one lifecycle handler to its end. Raises HookFailed."""
    if "exec" in hook:
        await _exec(runtime, hook["exec"].get("command") or [], container_id, timeout)
    elif "httpGet" in hook:
        await _http(hook["httpGet"], spec, pod_ip)
    elif "sleep" in hook:
        await asyncio.sleep(int(hook["sleep"].get("seconds") or 0))
    elif "tcpSocket" not in hook:
        raise HookFailed(f"invalid handler: {', '.join(hook)}")


async def _exec(runtime: Runtime, command: list[str], container_id: str, timeout: int) -> None:
    try:
        result = await runtime.exec_sync(container_id, command, timeout)
    except RuntimeFault as fault:
        raise HookFailed(str(fault)) from fault
    if result.exit_code != 0:
        output = (result.stdout + result.stderr).decode("utf-8", "replace")
        raise HookFailed(f"command '{' '.join(command)}' exited with {result.exit_code}: {output}")


async def _http(action: Object, spec: Object, pod_ip: str) -> None:
    headers = [(h["name"], h.get("value", "")) for h in action.get("httpHeaders") or ()]
    try:
        async with asyncio.timeout(_HTTP_SECONDS):
            answer = await http_get.get(action_url(action, spec, pod_ip), headers)
    except (OSError, ValueError, TimeoutError) as error:
        raise HookFailed(str(error) or "timed out") from error
    if answer.status >= 400:
        raise HookFailed(f"HTTP request failed with status code {answer.status}")
