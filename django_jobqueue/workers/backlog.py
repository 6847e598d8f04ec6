"""What is done about a queue that grows faster than it is worked off, as `JOBQUEUE["QUEUES"]` says for it.

Three things, from the level on that the number of its ready jobs has reached: people are told (`backlog_changed`), more
children are started (see `autoscale`), and, when it is critical, jobs of some tasks get another priority: those that
can wait go behind the others, or those that can't before them.
"""

from __future__ import annotations

import logging
from enum import IntEnum

from django_jobqueue.conf import conf
from django_jobqueue.exceptions import InvalidPriority
from django_jobqueue.jobs.priority import parse_priority
from django_jobqueue.lifecycle.policy import QueuePolicy, queue_policy
from django_jobqueue.queues.base import Queue, QueueStats
from django_jobqueue.signals import backlog_changed

logger = logging.getLogger("django_jobqueue.worker")

_BACK_AT = 0.8
"""A level is left at this share of its threshold, so that one job more or less does not tell people twice."""
_PAGES = 5
"""Of ready jobs, that one check looks at for one task. The next goes on where it stopped."""


class BacklogLevel(IntEnum):
    NORMAL = 0
    WARNING = 1
    CRITICAL = 2


class BacklogManager:
    """Looks after the queues of one store that have thresholds. One thread calls `check`, every few seconds."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._levels: dict[str, BacklogLevel] = {}
        self._cursors: dict[tuple[str, str], str] = {}

    @property
    def level(self) -> BacklogLevel:
        """The highest of all queues."""
        return max(self._levels.values(), default=BacklogLevel.NORMAL)

    def check(self) -> None:
        """Look at all of them, once. Raises what the store raises when it does not answer."""
        watched = {name: policy for name in conf().QUEUES if _has_thresholds(policy := queue_policy(name))}
        if not watched:
            return
        found = {row.queue: row for row in self._queue.stats()}
        for name, policy in watched.items():
            stats = found.get(name, QueueStats(name))
            self._see(name, policy, stats)
            if self._levels[name] is BacklogLevel.CRITICAL:
                self._reprioritize(name, policy)

    def _see(self, name: str, policy: QueuePolicy, stats: QueueStats) -> None:
        before = self._levels.get(name, BacklogLevel.NORMAL)
        level = self._levels[name] = level_of(stats.ready, policy, before)
        if level is before:
            return
        say = logger.warning if level > before else logger.info
        say("The backlog of %r is %s: %d jobs are ready.", name, level.name.lower(), stats.ready)
        backlog_changed.send_robust(type(self._queue), queue=name, level=level, before=before, stats=stats)

    def _reprioritize(self, name: str, policy: QueuePolicy) -> None:
        for task, wanted in policy.backlog_priorities.items():
            try:
                priority = parse_priority(wanted)
            except InvalidPriority as problem:
                logger.error("backlog_priorities of %r, %r: %s", name, task, problem)
                continue
            moved = self._move(name, task, priority)
            if moved:
                logger.warning("%d jobs of %s have priority %d now: %r is critical.", moved, task, priority, name)

    def _move(self, name: str, task: str, priority: int) -> int:
        """Each job is a move of its own: what is claimed in between is not touched."""
        moved, cursor = 0, self._cursors.get((name, task), "")
        for _ in range(_PAGES):
            page = self._queue.ready_of(name, task, priority, cursor)
            moved += sum(self._queue.reprioritize(job_id, priority) for job_id in page.ids)
            cursor = page.cursor
            if not cursor:
                break
        self._cursors[name, task] = cursor
        return moved


def level_of(ready: int, policy: QueuePolicy, before: BacklogLevel = BacklogLevel.NORMAL) -> BacklogLevel:
    """By the thresholds; one that was reached is left only well below."""

    def is_over(threshold: int | None, level: BacklogLevel) -> bool:
        return threshold is not None and ready >= threshold * (_BACK_AT if before >= level else 1)

    if is_over(policy.backlog_critical, BacklogLevel.CRITICAL):
        return BacklogLevel.CRITICAL
    if is_over(policy.backlog_warning, BacklogLevel.WARNING):
        return BacklogLevel.WARNING
    return BacklogLevel.NORMAL


def _has_thresholds(policy: QueuePolicy) -> bool:
    return policy.backlog_warning is not None or policy.backlog_critical is not None
