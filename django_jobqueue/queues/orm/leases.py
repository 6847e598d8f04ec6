"""Leases as a whole: what a worker holds, and where it goes when the worker leaves, dies, or is proved dead.

Each function is a step of one move, in the caller's transaction. All of them take a lease by locking its row first, so
of two that want the same lease (a settlement, a reclaim, a worker that leaves) the second finds it gone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from django_jobqueue import failpoints
from django_jobqueue.conf import conf
from django_jobqueue.models import JobLock, WorkerProcess
from django_jobqueue.queues.base import Reservation
from django_jobqueue.queues.orm.dialect import ALIVE, RECLAIM_LIMIT, Dialect, reservation
from django_jobqueue.queues.orm.rows import LOCKS, WORKERS, marks
from django_jobqueue.queues.orm.settling import Moves
from django_jobqueue.queues.orm.values import Lease

_DEAD = str(WorkerProcess.State.DEAD)
_KILL = int(JobLock.Cancel.KILL)
_ALIVE = marks(len(ALIVE))
_SILENT_LIMIT = 50
"""Workers that are declared dead at a time, with all that they hold."""


def held(dialect: Dialect, worker: UUID) -> list[Reservation]:
    """What a worker holds, as it was reserved. A lease whose job is gone is none."""
    leases = dialect.leases("worker_id = %s AND name = ''", [dialect.to_id(worker)])
    jobs = dialect.jobs(lease.job_id for lease in leases)
    in_line = sorted(leases, key=lambda lease: (-lease.priority, lease.seq))
    return [reservation(lease, jobs[lease.job_id]) for lease in in_line if lease.job_id in jobs]


def ask_to_stop(dialect: Dialect, job_id: UUID, kill: bool) -> bool:
    """Mark the lease of a running job. Who asked for a kill is not taken back by who asks without.

    One statement: of a settlement that takes the lease meanwhile, it finds the row gone; a settlement that comes after
    it finds the mark.
    """
    changed = dialect.execute(
        f"UPDATE {LOCKS} SET cancel = CASE WHEN cancel = %s THEN cancel ELSE %s END WHERE id = %s AND name = ''",
        [_KILL, _KILL if kill else int(JobLock.Cancel.ASKED), dialect.to_id(job_id)],
    )
    failpoints.hit("request_cancel.before_commit")
    return changed > 0


def asked_to_stop(dialect: Dialect, workers: Sequence[UUID]) -> dict[UUID, bool]:
    """The jobs of these workers that were asked to stop, and whether they are to be killed: one look at all leases."""
    rows = dialect.rows(
        f"SELECT id, cancel FROM {LOCKS} WHERE cancel IS NOT NULL AND name = '' "
        f"AND worker_id IN ({marks(len(workers))})",
        [dialect.to_id(worker) for worker in workers],
    )
    return {dialect.from_id(row[0]): row[1] == _KILL for row in rows}


def give_back(dialect: Dialect, worker: UUID) -> None:
    """A worker leaves in good order: its leases go back to their places, its row says that it has stopped."""
    leases = dialect.leases(f"worker_id = %s AND name = '' {dialect.for_update}", [dialect.to_id(worker)])
    jobs = dialect.jobs(lease.job_id for lease in leases if lease.cancel)
    moves = Moves(dialect)
    for lease in leases:
        moves.give_back(lease, jobs.get(lease.job_id))
    dialect.delete_ids(LOCKS, "id", (lease.job_id for lease in leases))
    moves.write()
    gone = WorkerProcess.objects.using(dialect.connection.alias).filter(id=worker, state__in=ALIVE)
    gone.update(state=WorkerProcess.State.STOPPED, heartbeat_at=dialect.field_time(dialect.now()), running="")
    failpoints.hit("leave.before_commit")


def bury_silent(dialect: Dialect) -> int:
    """Declare dead who has been silent for longer than the lease, and lose what no living worker holds.

    What comes to light of one that was dead before had been locked when it was buried, or its claim was committed after
    that, by a server that did not know of its client's end. No job of these was running, so none is charged.
    """
    lost = _leases_of_silent(dialect)
    if lost:
        _lose(dialect, lost)
    late, unknown = _leases_of_none(dialect)
    if late or unknown:
        _lose(dialect, [*unknown, *late], late={lease.job_id for lease in late})
    moved = len(lost) + len(late) + len(unknown)
    if moved:
        failpoints.hit("reclaim.before_commit")
    return moved


def _leases_of_silent(dialect: Dialect) -> list[Lease]:
    """All that those hold who are declared dead now. One whose heartbeat is on its way is locked, and lives."""
    rows = dialect.rows(
        f"SELECT id FROM {WORKERS} WHERE state IN ({_ALIVE}) AND expires_at < %s AND store = '' "
        f"LIMIT {_SILENT_LIMIT} {dialect.skip_locked}",
        [*ALIVE, dialect.to_time(dialect.now())],
    )
    if not rows:
        return []
    ids = [row[0] for row in rows]
    dialect.execute(f"UPDATE {WORKERS} SET state = %s WHERE id IN ({marks(len(ids))})", [_DEAD, *ids])
    return dialect.leases(f"name = '' AND worker_id IN ({marks(len(ids))}) {dialect.skip_locked}", ids)


def _leases_of_none(dialect: Dialect) -> tuple[list[Lease], list[Lease]]:
    """Leases of workers that are gone: of those that are known, and of those that nobody has ever heard of.

    MariaDB reads the leases it locks as they are, the workers as they were: who joined and claimed while it read would
    be taken for nobody. A statement that begins now sees who has joined.
    """
    leases = dialect.leases(
        f"name = '' AND (worker_id IS NULL OR worker_id NOT IN (SELECT id FROM {WORKERS} WHERE state IN ({_ALIVE}))) "
        f"LIMIT {RECLAIM_LIMIT} {dialect.skip_locked}",
        ALIVE,
    )
    holders = [dialect.to_id(worker) for worker in {lease.worker_id for lease in leases} if worker is not None]
    states: dict[UUID | None, str] = {}
    if holders:
        rows = dialect.rows(f"SELECT id, state FROM {WORKERS} WHERE id IN ({marks(len(holders))})", holders)
        states = {dialect.from_id(row[0]): row[1] for row in rows}
    known = [lease for lease in leases if lease.worker_id in states and states[lease.worker_id] not in ALIVE]
    return known, [lease for lease in leases if lease.worker_id not in states]


def bury(dialect: Dialect, worker: UUID, innocent: Collection[UUID]) -> int:
    """Declare one worker dead and lose what it holds. Its row is locked first, so that it can't be beating meanwhile.

    What somebody else has locked (the dead worker's own last statement, which its server may still be running) is left
    to `reclaim`, or for the next time: nobody waits for it here. And it is not charged then: see `bury_silent`.
    """
    is_news = dialect.execute(
        f"UPDATE {WORKERS} SET state = %s WHERE id = %s AND state IN ({_ALIVE}) AND store = ''",
        [_DEAD, dialect.to_id(worker), *ALIVE],
    )
    leases = dialect.leases(f"worker_id = %s AND name = '' {dialect.skip_locked}", [dialect.to_id(worker)])
    late = set() if is_news else {lease.job_id for lease in leases}
    if leases:
        _lose(dialect, leases, {*innocent}, late)
    failpoints.hit("declare_dead.before_commit")
    return len(leases)


def _lose(
    dialect: Dialect, leases: Sequence[Lease], innocent: Collection[UUID] = (), late: Collection[UUID] = ()
) -> None:
    """`late`: as good as innocent, but nobody has seen it: one that must not run twice is charged all the same."""
    jobs = dialect.jobs(lease.job_id for lease in leases)
    budgets, usual = dialect.crash_budgets(jobs), conf().CRASH_BUDGET
    moves = Moves(dialect)
    for lease in leases:
        job_id = lease.job_id
        if job_id not in jobs:  # a lease without a job is none
            continue
        if job_id in innocent or (job_id in late and job_id not in budgets):
            moves.give_back(lease, jobs[job_id])
        else:
            moves.lose(lease, jobs[job_id], budgets.get(job_id, usual))
    dialect.delete_ids(LOCKS, "id", (lease.job_id for lease in leases))
    moves.write()
