"""``kubeto-apiserver``.

The collector is off until the server is ready: imports make hundreds of thousands of objects, none of them garbage.
"""

import dataclasses
import gc
import sys
from collections.abc import Sequence

gc.disable()

from apimachinery import lifecycle, logging  # noqa: E402

from . import settings, tls  # noqa: E402
from .app import ApiServer  # noqa: E402
from .workers import Workers, listen  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    chosen = settings.parse(argv)
    logging.setup(chosen.verbosity)
    drain = chosen.shutdown_delay + 10.0
    if chosen.workers <= 1:
        return lifecycle.run(lambda: ApiServer(chosen).run(), drain_seconds=drain)
    with tls.signing_key(chosen.auth.service_account_signing_key_file) as key:
        shared = dataclasses.replace(
            chosen, auth=dataclasses.replace(chosen.auth, service_account_signing_key_file=key)
        )
        listening = listen(shared.serving.bind_address, shared.serving.secure_port)

        def work(number: int) -> int:
            return lifecycle.run(lambda: ApiServer(shared, number, listening).run(), drain_seconds=drain)

        return Workers(shared.workers, work, drain + 1.0).run()


if __name__ == "__main__":
    sys.exit(main())
