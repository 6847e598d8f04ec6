"""How the schedules of a database are, and what is wrong with them: for `scheduler_status`, a person or a monitor.

It reads rows that are in trouble and rows that are next, each with a query whose plan does not depend on what the
database knows of its tables. With a hundred thousand schedules it takes about a second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from django_jobqueue.compat import InvalidTaskBackend, as_django_tells_it
from django_jobqueue.exceptions import STORE_ERRORS, InvalidSchedule
from django_jobqueue.models import DeadLetterJob, JobHistory, RecurringJob, WorkerProcess
from django_jobqueue.monitoring.last_jobs import with_dead_job
from django_jobqueue.queues import get_queue
from django_jobqueue.scheduling.declared import declared
from django_jobqueue.scheduling.edits import rows_of, schedule_in, store_now
from django_jobqueue.scheduling.register import alive

LATE = timedelta(seconds=60)
LIMIT = 50
_CHORE = RecurringJob.Source.CHORE
_EXAMPLES = 5
"""How many schedules are named that are in the same trouble."""


@dataclass
class Line:
    """A schedule or a chore. `state` is a word of `STATES`; `last_job` what became of the job of its last tick."""

    name: str
    task: str
    schedule: str
    state: str
    next_run_at: datetime | None
    last_run_at: datetime | None
    last_job: str = ""
    last_job_id: UUID | None = None
    failures: int = 0
    error: str = ""


STATES = ("on time", "late", "failing", "waiting", "paused", "by hand", "over")
"""`waiting`: for the end of its previous job (overlap `queue`)."""


@dataclass
class Report:
    """One database. `problems` are sentences, with what to do; `late_s` is how late the latest is, in seconds."""

    database: str
    now: datetime
    schedulers: list[dict[str, Any]]
    counts: dict[str, int]
    late_s: float
    schedules: list[Line] = field(default_factory=list)
    chores: list[Line] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def report_of(database: str, late: timedelta = LATE, limit: int = LIMIT) -> Report:
    """Look at the schedules in `database`: up to `limit` of those in trouble, and of those that are next.

    What is due for longer than `late` is a problem. Raises Django's database errors; another store that does not answer
    is one of the problems.
    """
    return _Look(database, late, limit).report()


class _Look:
    def __init__(self, database: str, late: timedelta, limit: int) -> None:
        self._database = database
        self._limit = limit
        now = store_now(database)
        self._now: Any = as_django_tells_it(now)
        self._overdue: Any = as_django_tells_it(now - late)
        self._rows = rows_of(database).filter(retired_at=None)
        self._problems: list[str] = []

    def report(self) -> Report:
        schedulers = [_scheduler(one) for one in alive(self._database)]
        first = self._rows.filter(due_at__isnull=False).order_by("due_at").values_list("due_at", flat=True).first()
        late_s = 0.0 if first is None else max(0.0, (self._now - first).total_seconds())
        report = Report(self._database, self._now, schedulers, self._counts(), late_s, problems=self._problems)
        rows = self._chosen()
        last = self._last_jobs(rows)
        self._tell_of_schedulers(schedulers, first)
        self._tell_of_late()
        self._tell_of_failing()
        self._tell_of_dead()
        self._tell_of_code()
        for row in rows:
            lines = report.chores if row.source == _CHORE else report.schedules
            lines.append(self._line(row, last.get(row.last_job_id) if row.last_job_id else ""))
        return report

    def _counts(self) -> dict[str, int]:
        plain = ~Q(source=_CHORE)
        found: dict[str, int] = self._rows.aggregate(
            schedules=Count("pk", filter=plain),
            paused=Count("pk", filter=plain & Q(enabled=False)),
            chores=Count("pk", filter=Q(source=_CHORE)),
        )
        return found

    # -- which rows --------------------------------------------------------------------------------------------------

    @property
    def _late(self) -> QuerySet[RecurringJob]:
        return self._rows.filter(due_at__lt=self._overdue)

    @property
    def _failing(self) -> QuerySet[RecurringJob]:
        return self._rows.filter(failures__gt=0)

    @cached_property
    def _dead(self) -> QuerySet[RecurringJob]:
        """Not more than `limit`, whose last job is a dead letter."""
        letters = DeadLetterJob._default_manager.using(self._database)
        return self._rows.filter(pk__in=with_dead_job(self._rows, letters, self._limit))

    def _chosen(self) -> list[RecurringJob]:
        """All chores, then of the schedules those in trouble, those that are next, and the others."""
        plain = Q(source=_CHORE)
        found = {row.pk: row for row in self._rows.filter(plain).order_by("name")}
        most = len(found) + self._limit
        for rows in (self._late, self._failing, self._dead, self._rows.filter(due_at__isnull=False), self._rows):
            for row in rows.exclude(plain).order_by("due_at", "name")[: self._limit]:
                if len(found) < most:
                    found.setdefault(row.pk, row)
        return list(found.values())

    # -- the last jobs -----------------------------------------------------------------------------------------------

    def _last_jobs(self, rows: Iterable[RecurringJob]) -> dict[UUID, str]:
        wanted: dict[str, list[UUID]] = defaultdict(list)
        for row in rows:
            if row.last_job_id is not None:
                wanted[row.backend].append(row.last_job_id)
        found: dict[UUID, str] = {}
        for alias, job_ids in wanted.items():
            found |= self._ended(job_ids)
            found |= self._living(alias, [one for one in job_ids if found.get(one) not in _ENDS])
        return found

    def _ended(self, job_ids: Sequence[UUID]) -> dict[UUID, str]:
        runs = JobHistory._default_manager.using(self._database).filter(job_id__in=job_ids).order_by("lease_no")
        letters = DeadLetterJob._default_manager.using(self._database).filter(pk__in=job_ids)
        found = dict(runs.values_list("job_id", "outcome"))
        return found | dict.fromkeys(letters.values_list("pk", flat=True), "dead")

    def _living(self, alias: str, job_ids: Sequence[UUID]) -> dict[UUID, str]:
        try:
            queue = get_queue(alias)
            living = queue.statuses(*job_ids)
            rest = {one: ended for one in job_ids if one not in living and (ended := queue.finished(one)) is not None}
            return {one: str(status) for one, status in living.items()} | {
                one: str(ended.outcome) for one, ended in rest.items()
            }
        except (*STORE_ERRORS, InvalidTaskBackend) as error:
            self._problems.append(f"The store {alias!r}, where jobs of schedules go, is out of reach: {error}")
            return dict.fromkeys(job_ids, "unknown")

    # -- what is wrong -----------------------------------------------------------------------------------------------

    def _tell_of_schedulers(self, schedulers: Sequence[Any], first: datetime | None) -> None:
        if not schedulers and first is not None:
            self._problems.append(
                f"No scheduler is alive for the database {self._database!r}: start `manage.py scheduler_run` (or "
                f"`queue_work --with-scheduler`). What is missed meanwhile follows the misfire policy of each schedule."
            )

    def _tell_of_late(self) -> None:
        late = self._late.order_by("due_at")
        if count := late.count():
            since = f"{late[0].due_at:%Y-%m-%d %H:%M:%S %Z}".rstrip()
            self._problems.append(
                f"{count:,} should have been looked at by now, {_names(late)}: the first since {since}. Where a "
                f"scheduler is alive, it hangs or can't keep up; see its log."
            )

    def _tell_of_failing(self) -> None:
        for row in self._failing.order_by("-failures")[: self._limit]:
            again = f"{row.due_at:%H:%M:%S %Z}".rstrip() if row.due_at else ""
            again = f"It is tried again at {again}." if again else "It is paused."
            what = "failed" if row.source == _CHORE else "could not be dispatched"
            times = "once" if row.failures == 1 else f"{row.failures:,} times by now"
            self._problems.append(f"{row.name} {what}, {times}: {row.last_error.rstrip('.')}. {again}")

    def _tell_of_dead(self) -> None:
        rows = list(self._dead)
        letters = DeadLetterJob._default_manager.using(self._database).in_bulk([row.last_job_id for row in rows])
        for row in rows:
            letter = letters.get(row.last_job_id)
            if letter is not None:
                why = f"{letter.error_class.rpartition('.')[2]}: {letter.error_message[:200]}".strip(": ")
                self._problems.append(
                    f"{row.name}: its last job is a dead letter ({letter.reason}{why and f', {why}'}). "
                    f"`manage.py queue_failed --backend {row.backend} {letter.pk}` shows it."
                )

    def _tell_of_code(self) -> None:
        found = declared()
        self._problems += [f"Left out: {problem}" for problem in (*found.problems, *found.doubled)]
        here = [name for name, one in found.good.items() if _database_of(one.backend) == self._database]
        there = set(self._rows.filter(name__in=here).values_list("name", flat=True))
        if missing := [name for name in here if name not in there]:
            self._problems.append(
                f"Declared in code and not in the tables, {', '.join(missing[:_EXAMPLES])}: a scheduler that starts "
                f"with this code brings them there."
            )

    # -- a line ------------------------------------------------------------------------------------------------------

    def _line(self, row: RecurringJob, last_job: str | None) -> Line:
        return Line(
            name=row.name,
            task=row.task,
            schedule=_words(row),
            state=self._state(row),
            next_run_at=row.next_run_at,
            last_run_at=row.last_run_at,
            last_job=last_job or ("forgotten" if row.last_job_id else ""),
            last_job_id=row.last_job_id,
            failures=row.failures,
            error=row.last_error,
        )

    def _state(self, row: RecurringJob) -> str:
        if not row.enabled:
            return "paused"
        if row.failures:
            return "failing"
        if row.due_at is None:
            return "by hand" if row.kind == RecurringJob.Kind.MANUAL else "over"
        if row.due_at < self._overdue:
            return "late"
        is_held = row.next_run_at is not None and row.next_run_at < min(row.due_at, self._now)
        return "waiting" if is_held else "on time"


_ENDS = ("dead", *JobHistory.FINAL)


def _scheduler(row: WorkerProcess) -> dict[str, Any]:
    names = ("name", "started_at", "heartbeat_at")
    return {name: getattr(row, name) for name in names} | {"dispatched": row.completed, "failed": row.failed}


def _database_of(alias: str) -> str | None:
    try:
        return get_queue(alias).database
    except InvalidTaskBackend:
        return None


def _names(rows: QuerySet[RecurringJob]) -> str:
    found = list(rows.values_list("name", flat=True)[: _EXAMPLES + 1])
    return ", ".join([*found[:_EXAMPLES], *(["…"] if len(found) > _EXAMPLES else [])])


def _words(row: RecurringJob) -> str:
    try:
        return str(schedule_in(row))
    except InvalidSchedule:
        return f"{row.kind} {row.expression!r}, which can't be read"
