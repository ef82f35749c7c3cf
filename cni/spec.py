"""The terms of the CNI specification 1.1 that the executor and our plugin share."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

Object = dict[str, Any]
SUPPORTED = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Versions of configuration and result understood: their results have the same shape (older ones had another)."""

# The specification's error codes (section "Error"), and two of our own from 100 on.
INCOMPATIBLE_VERSION, UNKNOWN_CONTAINER, INVALID_ENVIRONMENT = 1, 3, 4
IO_FAILURE, DECODE_FAILURE, INVALID_CONFIG = 5, 6, 7
NOT_AVAILABLE = 50
NO_ADDRESS, NETWORK_FAILURE, TIMED_OUT = 100, 101, 102

_CONTAINER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_IFNAME = re.compile(r"[^\s/:,]{1,15}")


class CniError(Exception):
    """A plugin's refusal: the specification's ``code``, ``msg`` and ``details``."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(f"{message}: {details}" if details else message)
        self.code, self.message, self.details = code, message, details

    def to_json(self, version: str) -> Object:
        return {"cniVersion": version, "code": self.code, "msg": self.message, "details": self.details}


class Request(NamedTuple):
    """One call of a plugin: what the specification passes in the environment, and the configuration from stdin."""

    command: str
    config: Object
    container_id: str = ""
    netns: str = ""
    ifname: str = ""
    args: Mapping[str, str] = MappingProxyType({})
    path: str = ""

    def environment(self) -> dict[str, str]:
        pairs = ";".join(f"{key}={value}" for key, value in self.args.items())
        return {
            "CNI_COMMAND": self.command,
            "CNI_CONTAINERID": self.container_id,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": self.ifname,
            "CNI_ARGS": pairs,
            "CNI_PATH": self.path,
        }

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], config: Object) -> "Request":
        """Raises CniError when a variable that the command needs is missing or malformed."""
        pairs = (pair.partition("=") for pair in environment.get("CNI_ARGS", "").split(";") if pair)
        request = cls(
            environment.get("CNI_COMMAND", ""),
            config,
            environment.get("CNI_CONTAINERID", ""),
            environment.get("CNI_NETNS", ""),
            environment.get("CNI_IFNAME", ""),
            {key: value for key, _, value in pairs},
            environment.get("CNI_PATH", ""),
        )
        request.check()
        return request

    def check(self) -> None:
        """Raises CniError(INVALID_ENVIRONMENT)."""
        if self.command not in ("ADD", "DEL", "CHECK"):
            return
        if not _CONTAINER_ID.fullmatch(self.container_id):
            raise CniError(INVALID_ENVIRONMENT, "CNI_CONTAINERID is missing or malformed", self.container_id)
        if not _IFNAME.fullmatch(self.ifname) or self.ifname in (".", ".."):
            raise CniError(INVALID_ENVIRONMENT, "CNI_IFNAME is missing or malformed", self.ifname)
        if not self.netns and self.command != "DEL":
            raise CniError(INVALID_ENVIRONMENT, "CNI_NETNS is missing")


def at_least(version: str, wanted: str) -> bool:
    return [int(part) for part in version.split(".")] >= [int(part) for part in wanted.split(".")]
