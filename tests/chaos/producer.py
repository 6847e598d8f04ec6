"""A producer: `python -m tests.chaos.producer ALIAS LEDGER COUNT RATE SEED OVER`.

It makes so many jobs, and goes on, slower, until the file OVER says that there are no more faults: on a slow machine,
too, there is work as long as something is to be broken.

Whatever the store answers, it repeats a push with the same ids until it is told that the jobs are stored, as a careful
caller would. Some pushes are made in a transaction, and some of these are rolled back on purpose: `void`.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import django

django.setup()

from django.db import connections, transaction  # noqa: E402

from django_jobqueue.exceptions import STORE_ERRORS  # noqa: E402
from django_jobqueue.jobs.payload import JobPayload  # noqa: E402
from django_jobqueue.queues import get_queue  # noqa: E402
from tests.chaos import tasks  # noqa: E402
from tests.chaos.kinds import KINDS  # noqa: E402
from tests.crash.ledger import write_durably  # noqa: E402

IN_TRANSACTION, ROLLED_BACK = 0.3, 0.2
LARGEST_BATCH = 8
SLOWER = 10
"""Than the given rate, once all were made: what is left over keeps the workers busy."""
PAUSE = 0.1
"""Seconds before a push that failed is repeated."""


class RolledBack(Exception):
    """Raised to end a transaction."""


def produce(alias: str, ledger: str, count: str, rate: str, seed: str, over: str) -> None:
    rng, queue, begun, made = random.Random(seed), get_queue(alias), time.monotonic(), 0
    while made < int(count) or not Path(over).exists():
        batch = [payload(rng, queue) for _ in range(rng.randint(1, LARGEST_BATCH))]
        in_transaction = rng.random() < IN_TRANSACTION
        is_void = in_transaction and rng.random() < ROLLED_BACK
        write_durably(Path(ledger), *(f"intent {job.id} {job.task.rpartition('.')[2]}" for job in batch))
        while not push(queue, batch, in_transaction, is_void):
            time.sleep(PAUSE)
        write_durably(Path(ledger), *(f"{'void' if is_void else 'acked'} {job.id}" for job in batch))
        made += 0 if is_void else len(batch)
        slowly = len(batch) / float(rate) * SLOWER
        time.sleep(slowly if made > int(count) else max(0.0, begun + made / float(rate) - time.monotonic()))


def payload(rng: random.Random, store) -> JobPayload:
    kinds = {name: kind for name, kind in KINDS.items() if store.settles_in_transactions or not kind.is_atomic}
    [kind] = rng.choices(list(kinds), [one.weight for one in kinds.values()])
    ms = rng.choice([0, 0, 1, 2, 5, 20]) if rng.random() < 0.97 else 200
    delay = rng.uniform(0.0, 1.0) if rng.random() < 0.1 else None
    queue = rng.choice(["default", "default", "other"])
    return JobPayload.create(
        getattr(tasks, kind), (ms,), queue=queue, priority=rng.choice([0, 0, 0, 10, -10]), delay=delay
    )


def push(queue, batch, in_transaction: bool, is_void: bool) -> bool:
    """False: nobody knows whether it was done."""
    try:
        if not in_transaction:
            queue.push(*batch)
            return True
        with transaction.atomic(using=queue.database):
            queue.push(*batch)
            if is_void:
                raise RolledBack
    except RolledBack:
        pass
    except STORE_ERRORS as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        connections.close_all()
        return False
    return True


if __name__ == "__main__":
    produce(*sys.argv[1:])
