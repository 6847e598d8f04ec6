"""The systems that are compared, one file each. Importing them imports none of the peers."""

from __future__ import annotations

from collections.abc import Collection

from tests.benchmarks import recording
from tests.benchmarks.systems.base import System, here
from tests.benchmarks.systems.celery import Celery
from tests.benchmarks.systems.chancy import Chancy
from tests.benchmarks.systems.dj_queue import DjQueue
from tests.benchmarks.systems.django_ox import DjangoOx
from tests.benchmarks.systems.django_q2 import DjangoQ2
from tests.benchmarks.systems.dramatiq import Dramatiq
from tests.benchmarks.systems.huey import Huey
from tests.benchmarks.systems.ours import JustDjango, Ours
from tests.benchmarks.systems.pgqueuer import PgQueuer
from tests.benchmarks.systems.procrastinate import Procrastinate
from tests.benchmarks.systems.raw_postgres import RawPostgres
from tests.benchmarks.systems.raw_redis import RawRedis
from tests.benchmarks.systems.raw_sqlite import RawSQLite
from tests.benchmarks.systems.rq import RQ
from tests.benchmarks.systems.tasks_db import TasksDB

PEERS = (PgQueuer, Chancy, Procrastinate, TasksDB, DjangoOx, DjQueue, DjangoQ2, Huey, Dramatiq, Celery, RQ)
RAW = (RawPostgres, RawSQLite, RawRedis)
KINDS = (Ours, *RAW, *PEERS)
NAMES = tuple(dict.fromkeys(kind.name for kind in KINDS))
DJANGO = JustDjango
"""Not a queue: what others are compared with in memory."""


def on(store: str, names: Collection[str]) -> list[System]:
    """Those of these names that work on this store."""
    return [kind(store) for kind in KINDS if kind.name in names and store in kind.stores]


def of_this_process() -> System:
    return here((*KINDS, DJANGO))


def open_here() -> None:
    """For processes that a worker starts from nothing."""
    recording.install()
    of_this_process().open()
