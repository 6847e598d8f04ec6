"""A project's own backend and task class."""

from __future__ import annotations

from dataclasses import dataclass

from django_jobqueue.backends import DatabaseBackend
from django_jobqueue.decorators import JobTask


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTask(JobTask):
    owner: str = "nobody"


class OwnBackend(DatabaseBackend):
    task_class = OwnTask
