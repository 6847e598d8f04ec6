"""The operator's pages. Importing this registers them."""

from __future__ import annotations

from django_jobqueue.admin import dead_letters, history, jobs, other, schedules, workers

__all__ = ["dead_letters", "history", "jobs", "other", "schedules", "workers"]
