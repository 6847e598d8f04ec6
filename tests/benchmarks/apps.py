"""The app of the measured processes: the hooks are in place before the first connection is opened."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.backends.signals import connection_created

from tests.benchmarks import trace


class BenchmarksConfig(AppConfig):
    name = "tests.benchmarks"

    def ready(self) -> None:
        if trace.directory():
            connection_created.connect(trace.begin_of_django)
