"""The systems that are compared, one adapter each. The raw loops next to them are programs, not systems."""

from __future__ import annotations

from tests.benchmarks.systems.base import Peer, System
from tests.benchmarks.systems.ours import OURS, OURS_ON_REDIS
from tests.benchmarks.systems.peers import PEERS
from tests.benchmarks.systems.tasks_db import TASKS_DB

SYSTEMS = {system.name: system for system in (OURS, TASKS_DB)}
"""On databases."""

__all__ = ["OURS", "OURS_ON_REDIS", "PEERS", "SYSTEMS", "TASKS_DB", "Peer", "System"]
