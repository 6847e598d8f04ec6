"""See `tests/servers/__init__.py`."""

from __future__ import annotations

import sys

from tests.servers.keeper import DURABLE, STARTERS, keep

given = [name for name in sys.argv[1:] if name != DURABLE]
keep([name for name in given if name != "none"] if given else list(STARTERS), DURABLE in sys.argv)
