"""What other schedulers keep, read as schedules of ours: one file per source, nothing of theirs need be installed.

A source only reads. What becomes of a row is decided in `landing`, the same for all.
"""

from __future__ import annotations

from collections.abc import Callable

from django_jobqueue.scheduling.importers import celery_beat, crontab, django_q2, rq_scheduler
from django_jobqueue.scheduling.importers.found import Found, Origin

SOURCES: dict[str, Callable[[Origin], list[Found]]] = {
    "celery-beat": celery_beat.read,
    "crontab": crontab.read,
    "django-q2": django_q2.read,
    "rq-scheduler": rq_scheduler.read,
}

__all__ = ["SOURCES", "Found", "Origin"]
