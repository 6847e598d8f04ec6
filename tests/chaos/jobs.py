"""Jobs of a process that is to run for years: whatever each of them leaves behind adds up."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.contrib.auth.models import Group
from django.db import connections, transaction

from django_jobqueue import FixedDelays, NoRetry, task

THREADS = 3


def _database() -> str:
    alias = os.environ["JOBQUEUE_TEST_ALIAS"]
    return alias if alias in connections else "default"


@task
def nothing(n: int) -> int:
    return n


@task(retry=NoRetry())
def hopeless(n: int) -> None:
    raise ValueError(f"job {n}")


@task(retry=FixedDelays([0.01]))
def retried(n: int) -> None:
    """Fails once, with a cause and a context that hold on to their frames."""
    try:
        [][n]
    except IndexError as error:
        from_now_on = Group.objects.using(_database()).filter(name=f"retried {n}")
        if not from_now_on.exists():
            Group.objects.using(_database()).create(name=f"retried {n}")
            raise ValueError(n) from error
        from_now_on.delete()


@task
def in_threads(n: int) -> int:
    """Without connections: those would be the job's own, and are counted here."""
    found: list[int] = []
    threads = [threading.Thread(target=found.append, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(abs, found))


@task
async def on_a_loop(n: int) -> int:
    return sum(await asyncio.gather(*(asyncio.sleep(0, one) for one in range(n % 5))))


@task
def in_the_database(n: int) -> None:
    group, _ = Group.objects.using(_database()).get_or_create(name=f"group {n % 50}")
    group.delete()


@task
def rolled_back(n: int) -> None:
    try:
        with transaction.atomic(using=_database()):
            Group.objects.using(_database()).create(name=f"never {n}")
            raise ValueError(n)
    except ValueError:
        pass


@task(atomic=True)
def with_its_completion(n: int) -> str:
    return "x" * (n % 200)


MIX = [nothing] * 11 + [hopeless, retried, in_threads, on_a_loop, on_a_loop, in_the_database, in_the_database]
MIX += [rolled_back]


def kind(n: int, alias: str) -> Any:
    """The task of the nth job. On Redis there are no atomic ones."""
    return with_its_completion if n % 20 == 19 and alias != "redis" else MIX[n % len(MIX)]
