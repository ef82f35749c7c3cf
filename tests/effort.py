"""How hard the tests of safety try: a minute in ``make test``, KUBETO_FUZZ times as long in ``make fuzz``."""

import os

import pytest

EFFORT = int(os.environ.get("KUBETO_FUZZ", "1"))
thorough = pytest.mark.skipif(EFFORT == 1, reason="takes long: make fuzz")
