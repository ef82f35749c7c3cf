"""``kubeto-apiserver``."""

import sys
from collections.abc import Sequence

from apimachinery import lifecycle, logging

from . import settings
from .app import ApiServer


def main(argv: Sequence[str] | None = None) -> int:
    chosen = settings.parse(argv)
    logging.setup(chosen.verbosity)
    return lifecycle.run(lambda: ApiServer(chosen).run(), drain_seconds=chosen.shutdown_delay + 10.0)


if __name__ == "__main__":
    sys.exit(main())
