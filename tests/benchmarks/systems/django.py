"""What all systems that are Django apps have in common: the same settings (tests/benchmarks/settings.py)."""

from __future__ import annotations

import os
from typing import Any

from tests.benchmarks.systems.base import System

ON_POSTGRES = ("django", "psycopg[binary]")


class DjangoSystem(System):
    apps: tuple[str, ...]

    def settings(self) -> dict[str, Any]:
        """What it needs of its own; what only makes it log is off for all of them."""
        return {}

    def open(self) -> None:
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.benchmarks.settings"
        import django

        django.setup()

    def prepare(self) -> None:
        self.manage("migrate", "-v", "0")

    def manage(self, *arguments: str) -> None:
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.benchmarks.settings"
        from django.core.management import execute_from_command_line

        execute_from_command_line(["manage.py", *arguments])


class TasksSystem(DjangoSystem):
    """One with a `django.tasks` backend."""

    backend: str

    def options(self) -> dict[str, Any]:
        return {}

    def settings(self) -> dict[str, Any]:
        return {"TASKS": {"default": {"BACKEND": self.backend, "QUEUES": ["default"], "OPTIONS": self.options()}}}

    def open(self) -> None:
        super().open()
        from tests.benchmarks.tasks import noop

        self.enqueue = noop.enqueue
