"""django-tasks-db: `db_worker`, logging off and no start-up delay; no pause when SQLite is locked."""

from __future__ import annotations

from tests.benchmarks.systems.base import System

TASKS_DB = System(
    name="django-tasks-db",
    module="django_tasks_db",
    apps=("django_tasks_db",),
    backend="django_tasks_db.DatabaseBackend",
    drain=("db_worker", "--batch", "--no-startup-delay", "--interval", "0", "-v", "0"),
    serve=("db_worker", "--no-startup-delay", "-v", "0"),
    drain_workers=(1, 2),
    share=0.1,
)
