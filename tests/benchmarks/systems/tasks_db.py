"""django-tasks-db: `db_worker`, no start-up delay, no pause after an empty look. One worker, two and three.

For latency it has the interval it comes with, one second: it polls. One row per job, which is updated twice.
Four workers were slower than three.
"""

from __future__ import annotations

from tests.benchmarks.systems.base import Setup
from tests.benchmarks.systems.django import ON_POSTGRES, TasksSystem

DRAIN = ("--batch", "--interval", "0")


class TasksDB(TasksSystem):
    name, stores = "django-tasks-db", ("sqlite", "postgres")
    packages = ("django-tasks-db", *ON_POSTGRES)
    promise = "once, or never: no lease; what a dead worker ran stays as it was"
    apps = ("django_tasks_db",)
    backend = "django_tasks_db.DatabaseBackend"
    setups = (Setup("1 worker", 1, DRAIN), Setup("2 workers", 2, DRAIN), Setup("3 workers", 3, DRAIN))
    tried = (Setup("4 workers", 4, DRAIN),)
    serving = Setup("1 worker")
    share = 0.1
    left = "SELECT 1 FROM django_tasks_database_dbtaskresult WHERE status IN ('READY', 'RUNNING') LIMIT 1"
    done = "SELECT count(*) FROM django_tasks_database_dbtaskresult WHERE status = 'SUCCESSFUL'"
    ends_by_itself = True

    def work(self, *options: str) -> None:
        self.manage("db_worker", "--no-startup-delay", "-v", "0", *options)
