"""celery: `python -m celery -A tests.benchmarks.systems.celery worker`, no result backend."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from celery import Celery

from tests.benchmarks import recording

parts = urlsplit(os.environ["BENCH_REDIS"])
app = Celery("bench", broker=f"redis+socket://{parts.path}?virtual_host={parts.query.removeprefix('db=')}")
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


@app.task(name="noop")
def noop(sent_ns: int) -> None:
    recording.run(sent_ns)


def enqueue(sent_ns: int) -> None:
    noop.delay(sent_ns)


recording.install()
