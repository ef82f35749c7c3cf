"""``kubeto-cni``: our plugin as a program, for runtimes that execute plugins (containerd, CRI-O).

Reads CNI_* and the configuration on stdin, prints a result or an error as the CNI specification 1.1 has it. It is
started twice for each pod, so only what a command needs is imported, and no dataclasses: a quarter of its time.
"""

import json
import os
import sys

from cni import plugin
from cni.spec import DECODE_FAILURE, SUPPORTED, CniError, Request


def main() -> int:
    version = SUPPORTED[-1]
    try:
        config = _config()
        version = str(config.get("cniVersion", version))
        result = plugin.execute(Request.from_environment(os.environ, config))
    except CniError as error:
        json.dump(error.to_json(version), sys.stdout)
        return 1
    if result is not None:
        json.dump(result, sys.stdout)
    return 0


def _config() -> dict[str, object]:
    try:
        config = json.load(sys.stdin)
    except ValueError as error:
        raise CniError(DECODE_FAILURE, "the configuration on stdin is not JSON", str(error)) from error
    if not isinstance(config, dict):
        raise CniError(DECODE_FAILURE, "the configuration on stdin is not an object")
    return config


if __name__ == "__main__":
    sys.exit(main())
