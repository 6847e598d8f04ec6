"""The systems that are compared, one adapter each. The raw loops next to them are programs, not systems."""

from __future__ import annotations

from tests.benchmarks.systems.base import System
from tests.benchmarks.systems.ours import OURS
from tests.benchmarks.systems.tasks_db import TASKS_DB

SYSTEMS = {system.name: system for system in (OURS, TASKS_DB)}

__all__ = ["OURS", "SYSTEMS", "TASKS_DB", "System"]
