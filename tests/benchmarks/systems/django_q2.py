"""django-q2 on PostgreSQL (its ORM broker): one cluster of two workers, fifty jobs per look, all results kept.

The fastest of four: by default each saved result also counts and deletes old ones.
"""

from __future__ import annotations

import json
import os
from typing import Any

from tests.benchmarks.systems.base import Setup
from tests.benchmarks.systems.django import ON_POSTGRES, DjangoSystem

AHEAD = {"bulk": 500, "queue_limit": 1_000, "poll": 0.01}


class DjangoQ2(DjangoSystem):
    name, stores, packages = "django-q2", ("postgres",), ("django-q2", *ON_POSTGRES)
    promise = "at least once: the job stays in the table until its result is saved, and is taken again after a minute"
    apps = ("django_q",)
    setups = (
        Setup("1 cluster of 2 workers, 50 at a time"),
        Setup("2 workers, 500 at a time, 1000 ahead, 10 ms", environment=(("BENCH_CLUSTER", json.dumps(AHEAD)),)),
    )
    tried = tuple(
        Setup(title, environment=(("BENCH_CLUSTER", json.dumps(given)),))
        for title, given in (
            ("1 worker, 50 at a time", {"workers": 1}),
            ("4 workers, 50 at a time", {"workers": 4}),
            ("2 workers, 50 at a time, 500 ahead", {"queue_limit": 500}),
            ("2 workers, 500 at a time, 1000 ahead", AHEAD | {"poll": 0.2}),
        )
    )
    share = 0.25
    left = "SELECT 1 FROM django_q_ormq LIMIT 1"
    done = "SELECT count(*) FROM django_q_task WHERE success"

    def settings(self) -> dict[str, Any]:
        cluster = {"orm": "default", "workers": 2, "bulk": 50, "save_limit": 0, "recycle": 1_000_000}
        cluster |= json.loads(os.environ.get("BENCH_CLUSTER", "{}"))
        return {"Q_CLUSTER": cluster | {"timeout": 50, "retry": 60, "log_level": "WARNING", "scheduler": False}}

    def open(self) -> None:
        super().open()
        from django_q.brokers import get_broker
        from django_q.tasks import async_task

        broker = get_broker()  # or each call makes one
        self.enqueue = lambda sent_ns: async_task("tests.benchmarks.recording.run", sent_ns, broker=broker)

    def work(self, *options: str) -> None:
        self.manage("qcluster")
