"""Schedules that are declared in code, and could not run."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, register

from django_jobqueue.scheduling.declared import declared


@register("jobqueue")
def check_schedules(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """E030: a declaration that can't work. E031: two of one name."""
    found = declared()
    return [
        *(Error(text, id="jobqueue.E030") for text in found.problems),
        *(Error(text, id="jobqueue.E031") for text in found.doubled),
    ]
