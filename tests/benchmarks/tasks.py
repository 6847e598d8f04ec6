"""The job that is measured, for systems that have a `django.tasks` backend."""

from __future__ import annotations

from typing import Any

from django.db.backends.signals import connection_created

from tests.benchmarks import recording, trace

try:
    from django.tasks import task
except ImportError:  # Django 5.2
    from django_tasks import task


@task
def noop(sent_ns: int) -> None:
    recording.run(sent_ns)


@task
def keep(text: str) -> None:
    """Waits in the line, for the sake of its size."""


def trace_connection(connection: Any, **_: Any) -> None:
    if connection.vendor == "postgresql":
        trace.begin(connection.connection.pgconn)


def install() -> None:
    recording.install()
    if trace.directory():
        connection_created.connect(trace_connection)
