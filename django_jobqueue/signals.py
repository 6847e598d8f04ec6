"""Signals of this package. `sender` is the queue's class; receivers that raise are logged and never stop a worker."""

from __future__ import annotations

from django.dispatch import Signal

job_retrying = Signal()
"""A job failed and will run again. Arguments: `reservation`, `exception`, `delay` (seconds)."""

job_dead = Signal()
"""A job went to the dead letters. Arguments: `reservation`, `reason`, `exception` (or None)."""

worker_started = Signal()
"""Arguments: `worker` (WorkerIdentity)."""

worker_stopped = Signal()
"""Arguments: `worker` (WorkerIdentity)."""

backlog_changed = Signal()
"""A queue's backlog has another level. Arguments: `queue` (its name), `level` and `before` (BacklogLevel), `stats`
(QueueStats). Sent by the heart of each `queue_work` that serves the store."""
