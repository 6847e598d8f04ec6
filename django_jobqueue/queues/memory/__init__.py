"""The store in memory: the reference model of the others, and a test double. One dictionary, one lock, nothing clever.

`queue.py` has the verbs, `moves.py` what they do to a job, `rows.py` what is kept of it.
"""

from __future__ import annotations

from django_jobqueue.queues.memory.queue import MemoryQueue

__all__ = ["MemoryQueue"]
