"""What is remembered: thirteen tables, one file each, named for what a row is."""

from __future__ import annotations

from django_jobqueue.models.batch import JobBatch
from django_jobqueue.models.dead_letter import DeadLetterJob
from django_jobqueue.models.delayed import DelayedJob
from django_jobqueue.models.dependency import JobDependency
from django_jobqueue.models.history import JobHistory
from django_jobqueue.models.job import Job
from django_jobqueue.models.lock import JobLock
from django_jobqueue.models.metric import JobMetric
from django_jobqueue.models.progress import JobProgress
from django_jobqueue.models.ready import JobPriority
from django_jobqueue.models.recurring import RecurringJob
from django_jobqueue.models.tag import JobTag
from django_jobqueue.models.worker import WorkerProcess

__all__ = [
    "DeadLetterJob",
    "DelayedJob",
    "Job",
    "JobBatch",
    "JobDependency",
    "JobHistory",
    "JobLock",
    "JobMetric",
    "JobPriority",
    "JobProgress",
    "JobTag",
    "RecurringJob",
    "WorkerProcess",
]
