"""How hard the tests of safety try: a minute in ``make test``, as long as one likes in ``make fuzz`` (KUBETO_FUZZ=20)."""

import os

import pytest

EFFORT = int(os.environ.get("KUBETO_FUZZ", "1"))
thorough = pytest.mark.skipif(EFFORT == 1, reason="takes long: make fuzz")
