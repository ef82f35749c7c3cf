"""``kubeto-apiserver``.

The collector is off until the server is ready: imports make hundreds of thousands of objects, none of them garbage.
"""

import gc
import sys
from collections.abc import Sequence

gc.disable()

from apimachinery import lifecycle, logging  # noqa: E402

from . import settings  # noqa: E402
from .app import ApiServer  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    chosen = settings.parse(argv)
    logging.setup(chosen.verbosity)
    return lifecycle.run(lambda: ApiServer(chosen).run(), drain_seconds=chosen.shutdown_delay + 10.0)


if __name__ == "__main__":
    sys.exit(main())
