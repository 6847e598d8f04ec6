"""The app of the measured processes: the hooks are in place before the first connection is opened."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import import_string


class BenchmarksConfig(AppConfig):
    name = "tests.benchmarks"

    def ready(self) -> None:
        import_string("tests.benchmarks.tasks.install")()
