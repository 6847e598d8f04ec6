"""The chores that come with the package.

The first three are also done by workers, as long as there are any. They are here for a store whose workers have all
gone: what scales them from zero must see that jobs are due, or came back.

Metrics have no chore: nothing collects them yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from django_jobqueue.compat import backend_of, task_backends
from django_jobqueue.conf import conf
from django_jobqueue.jobs.schedule import every
from django_jobqueue.lifecycle.cleanup import BATCH, prune_dead_letters, prune_history, prune_workers
from django_jobqueue.lifecycle.vigil import clock
from django_jobqueue.queues.base import Queue
from django_jobqueue.scheduling.chores import Chore, Round, add, registered

BREATH = 0.05
"""Seconds between two batches of rows that are deleted, so that others get their turn at SQLite's one lock."""
PRUNE_LIMIT = 600.0
_NOBODY = UUID(int=0)
_OFTEN = every(seconds=10)
"""The same for all, so that one transaction takes their ticks."""


def queues_of(database: str) -> list[Queue]:
    """The stores whose schedules, history and dead letters are in this database. Several entries of one are one."""
    found: dict[str, Queue] = {}
    for alias in task_backends:
        queue: Queue | None = getattr(backend_of(alias), "queue", None)
        if queue is not None and queue.database == database:
            found.setdefault(queue.store, queue)
    return list(found.values())


def chores_of(database: str) -> list[Chore]:
    """What there is to do for this database."""
    queues = queues_of(database)
    return [one for one in registered() if queues and one.is_for(queues)]


def promote(round: Round) -> str | None:
    """Make ready what is due."""
    return _told(_each(round, lambda queue: queue.promote(), again=True), "made ready")


def reclaim(round: Round) -> str | None:
    """Take back the leases of workers that died.

    Whether they did is asked first: after a freeze of this process, or an outage of the store, a worker that lives may
    not have been heard yet (`lifecycle/vigil.py`). So is it when others had the last ticks of this chore, which takes
    its time then; who has just begun takes back at once.
    """
    done, problem, unsure = 0, None, list(round.queues)
    while unsure:
        for queue in tuple(unsure):
            try:
                if _is_silence_death(round, queue):
                    done += queue.reclaim()
                    unsure.remove(queue)
            except Exception as error:
                problem = error
                unsure.remove(queue)
        if unsure and not round.goes_on(min(_step(round, queue) for queue in unsure)):
            break
    if problem is not None:
        raise problem
    return _told(done, "taken back from workers that died")


def relay(round: Round) -> str | None:
    """Deliver to Redis what committed transactions have left behind."""
    return _told(_each(round, lambda queue: queue.relay()), "delivered")


def prune(round: Round) -> str | None:
    """Delete history and dead letters that are older than the settings keep them."""
    history = _pruned(round, prune_history, conf().KEEP_HISTORY)
    letters = _pruned(round, prune_dead_letters, conf().KEEP_DEAD_LETTERS)
    words = (_told(history, "finished executions deleted"), _told(letters, "dead letters deleted"))
    return ", ".join(filter(None, words)) or None


def sweep(round: Round) -> str | None:
    """Delete workers that stopped or died more than a day ago."""
    return _told(prune_workers(round.database), "workers deleted that are long gone")


def _each(round: Round, act: Callable[[Queue], int], again: bool = False) -> int:
    """Do it for each store, `again` until there is nothing left. One that is away must not keep it from the others."""
    done, problem = 0, None
    for queue in round.queues:
        try:
            while count := act(queue):
                done += count
                if not again or not round.goes_on():
                    break
        except Exception as error:
            problem = error
    if problem is not None:
        raise problem
    return done


def _is_silence_death(round: Round, queue: Queue) -> bool:
    queue.cancellations(_NOBODY)  # the cheapest question: an outage ends with an answer, not with a reclaim
    vigil = round.vigils[queue]
    vigil.answered(clock())
    return vigil.may_tell(clock())


def _step(round: Round, queue: Queue) -> float:
    """Seconds until it is asked again, which must be several times in a gap."""
    return min(1.0, round.vigils[queue].gap / 4)


def _pruned(round: Round, delete: Callable[..., int], keep: float | timedelta | None) -> int:
    if keep is None:
        return 0
    age = keep if isinstance(keep, timedelta) else timedelta(seconds=keep)
    return sum(_batches(round, partial(delete, round.database, age, batches=1)))


def _batches(round: Round, delete: Callable[[], int]) -> Iterable[int]:
    deleted = BATCH
    while deleted == BATCH and round.goes_on(BREATH):
        deleted = delete()
        yield deleted


def _told(count: int, words: str) -> str | None:
    return f"{count:,} {words}" if count else None


def _has_outbox(queues: Sequence[Queue]) -> bool:
    return any(queue.store for queue in queues)


def _forgets(queues: Sequence[Queue]) -> bool:
    return conf().KEEP_HISTORY is not None or conf().KEEP_DEAD_LETTERS is not None


for _one in (
    Chore("promote", _OFTEN, promote),
    Chore("reclaim", _OFTEN, reclaim),
    Chore("relay", _OFTEN, relay, is_for=_has_outbox),
    Chore("prune", every(hours=1), prune, PRUNE_LIMIT, _forgets),
    Chore("sweep", every(hours=1), sweep),
):
    add(_one)
