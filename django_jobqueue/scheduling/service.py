"""`SchedulerService`: schedules in Python, for those who don't declare them in code. The admin uses it, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Self
from uuid import UUID

from django.db import IntegrityError

from django_jobqueue.compat import as_django_tells_it
from django_jobqueue.decorators import job_fields
from django_jobqueue.exceptions import InvalidSchedule, JobQueueError, ScheduleNotFound
from django_jobqueue.jobs.codec import decode_call
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.priority import parse_priority
from django_jobqueue.jobs.registry import lookup
from django_jobqueue.jobs.schedule import Schedule
from django_jobqueue.models import RecurringJob
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.recurring import schedule_table
from django_jobqueue.scheduling import edits
from django_jobqueue.scheduling.chore_runner import ChoreRunner
from django_jobqueue.scheduling.declared import Declared, declared_from, is_storable
from django_jobqueue.scheduling.stores import Stores
from django_jobqueue.scheduling.tick import tick

_CHORE = RecurringJob.Source.CHORE
_NAMES_COMPARED = 1_000
"""With a name that isn't there: to compare a hundred thousand takes ten seconds."""


@dataclass(frozen=True, slots=True)
class TaskExecutionResult:
    """What became of one tick. `outcome` is one of:

    - `dispatched`: `job_id` is in its queue. Whether it succeeds, its own result tells.
    - `skipped`: the previous job was still alive, and the schedule says to leave such a tick out.
    - `held`: the same, and it waits for the end of that job.
    - `failed`: it could not be dispatched, for the reason in `error`, and will be tried again.
    - `done`: a chore, which has been done; what it `error`s with makes it `failed`.
    """

    name: str
    outcome: str
    tick: datetime | None = None
    job_id: UUID | None = None
    error: str = ""

    @property
    def is_ok(self) -> bool:
        return self.outcome != "failed"


class SchedulerService:
    """The schedules that are stored beside the jobs of `TASKS[backend]`: in its database, for any kind of store.

    New schedules push there; without a `backend` each pushes to that of its task, and the database is that of
    "default".

    Every method takes effect for all schedulers at once, and is one transaction; inside one of yours it counts when
    that is committed. Methods that take a name raise `ScheduleNotFound`; all raise the errors of a database that does
    not answer.
    """

    def __init__(self, backend: str | None = None) -> None:
        self.database = get_queue(backend or "default").database
        self._options = {"backend": backend} if backend else {}

    @classmethod
    def of(cls, database: str) -> Self:
        """The schedules in this database (an alias of `DATABASES`)."""
        service = cls.__new__(cls)
        service.database, service._options = database, {}
        return service

    def schedule(
        self,
        name: str,
        task: Any,
        schedule: Schedule | str,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        enabled: bool | None = None,
        **options: Any,
    ) -> RecurringJob:
        """Make a schedule, or change the one of this name to be just this.

        `task` is a task, a typed job or a registered name; `schedule` a `cron(…)`, `every(…)`, `at(…)`, `manual()` or
        the text of a cron expression. Options: `backend`, `queue`, `priority`, `jitter`, `misfire`, `misfire_limit`,
        `grace`, `overlap`, `starts_at`, `ends_at`, as for a schedule declared in code. `enabled`: False makes it
        paused, None leaves a paused one paused.

        Raises `InvalidSchedule` for what can't work, for a name that is declared in code, and for a new schedule whose
        moment or end is past; one that is the same as before may be over.
        """
        given = {"task": task, "schedule": schedule, "args": args, "kwargs": kwargs or {}, **self._options, **options}
        declared = declared_from(name, given)
        if get_queue(declared.backend).database != self.database:
            raise InvalidSchedule(
                f"schedules of TASKS[{declared.backend!r}] are in another database than {self.database!r}: use "
                f"SchedulerService({declared.backend!r})"
            )
        row = self._called(name)
        if row is None or _runs_otherwise(row, declared):
            edits.check_it_comes(
                declared.schedule, edits.store_now(self.database), declared.starts_at, declared.ends_at
            )
        if row is None:
            try:
                return self._create(declared, enabled is not False)
            except IntegrityError:  # somebody else was faster
                row = self.get(name)
        if row.source != RecurringJob.Source.ADMIN and row.retired_at is None:
            raise InvalidSchedule(f"{name!r} is declared in {row.get_source_display()}: change it there")
        fields: dict[str, Any] = {**declared.fields(), "source": RecurringJob.Source.ADMIN, "retired_at": None}
        return edits.changed(self.database, row.pk, **fields, **({} if enabled is None else {"enabled": enabled}))

    def _create(self, declared: Declared, enabled: bool) -> RecurringJob:
        row = RecurringJob(**declared.fields(), source=RecurringJob.Source.ADMIN, enabled=enabled)
        table = schedule_table(self.database)
        with table.plain_transaction():
            edits.plan(row, table.now())
            row.save(using=self.database, force_insert=True)
        return row

    def trigger(
        self,
        name: str,
        *,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        priority: int | str | None = None,
    ) -> UUID | None:
        """Run it now, beside its ticks and whatever its overlap policy says; also when it is paused or manual.

        Without `args` and `kwargs` with its own arguments. Gives the id of the job; None for a chore, which the next
        scheduler that looks runs at once. For the overlap of its next tick this is the previous job.

        Raises `UnknownTask`, `SignatureMismatch`, `PayloadError` and `InvalidPayload` for what can't be run,
        `EnqueueError` for a store that does not answer, `JobQueueError` for a chore that is paused.
        """
        row = self.get(name)
        if row.source == _CHORE:
            self._trigger_chore(row)
            return None
        payload = _payload(row, args, kwargs, queue, priority)
        store = Stores(self.database).of(row.backend)
        with store.transaction():
            # The row first, as a tick does: with a unique key, the other way round is a deadlock.
            if not list(self._rows.select_for_update().filter(pk=row.pk).values_list("pk")):
                raise ScheduleNotFound(f"the schedule {name!r} has just been removed")
            [job_id] = store.push(payload)
            self._rows.filter(pk=row.pk).update(last_job_id=job_id)
        return job_id

    def _trigger_chore(self, row: RecurringJob) -> None:
        table = schedule_table(self.database)
        with table.plain_transaction():
            now = as_django_tells_it(table.now())
            running = self._rows.filter(pk=row.pk, enabled=True, retired_at=None)
            if not running.update(next_run_at=now, due_at=now):
                raise JobQueueError(f"{row.name!r} is paused, or is no chore any more: resume it first")

    def get_due(self, now: datetime | None = None) -> list[RecurringJob]:
        """What a scheduler would look at now (or at an aware moment), the longest due first. Nothing is locked."""
        moment = as_django_tells_it(now or edits.store_now(self.database))
        return list(self._rows.filter(due_at__lte=moment).order_by("due_at"))

    def get_next_execution_time(self, name: str) -> datetime | None:
        """The next tick. None: never by itself, because it is paused, manual, retired, or over."""
        return self.get(name).next_run_at

    def execute_due(self, now: datetime | None = None) -> list[TaskExecutionResult]:
        """Do once what a scheduler does all the time: push the jobs of what is due, and do the chores, here.

        Safe beside schedulers: a tick is somebody's, once. With `now`, as if it were that moment (aware); ticks that
        are decided on do not come again, so don't do that with a time ahead where others schedule. Raises
        `EnqueueError` and the errors of the database; what was not done is still due.
        """
        results: list[TaskExecutionResult] = []
        runner, more = ChoreRunner(self.database), True
        while more:  # of a schedule that has missed many, each transaction does some
            done = tick(self.database, now=now)
            for name, moment, job_id, outcome, error in done.outcomes:
                results.append(TaskExecutionResult(name, outcome, moment, job_id, error))
            for name in done.chores:
                ended = runner.do_row(name)
                results.append(TaskExecutionResult(name, "failed" if ended.error else "done", error=ended.error))
            more = done.more or any(one.outcome == "dispatched" for one in done.outcomes)
        return results

    def pause(self, name: str) -> bool:
        """From the commit on no tick of it becomes a job. False: it was paused already."""
        return edits.pause(self.database, self.get(name).pk) == 1

    def resume(self, name: str) -> bool:
        """Go on with the next tick from now; those of the pause are not made up for. False: it was not paused.

        Raises `InvalidSchedule` for a row that can't be read.
        """
        return edits.resume(self.database, self.get(name).pk) == 1

    def remove(self, name: str) -> bool:
        """Delete a schedule. Its jobs stay. False: there is none.

        Raises `InvalidSchedule` for one that is declared in code: the next scheduler would bring it back.
        """
        row = self._called(name)
        if row is not None and row.source != RecurringJob.Source.ADMIN and row.retired_at is None:
            raise InvalidSchedule(f"{name!r} is declared in {row.get_source_display()}: remove it there, or pause it")
        return row is not None and row.delete(using=self.database)[0] > 0

    def get(self, name: str) -> RecurringJob:
        """Its row. Change nothing in it that `schedule`, `pause` and `resume` can."""
        row = self._called(name)
        if row is None:
            close = get_close_matches(name, self._rows.values_list("name", flat=True)[:_NAMES_COMPARED], n=1)
            hint = f": did you mean {close[0]!r}?" if close else "."
            raise ScheduleNotFound(f"there is no schedule {name!r} in the database {self.database!r}{hint}")
        return row

    def _called(self, name: str) -> RecurringJob | None:
        """PostgreSQL does not even look for a name that it can't store."""
        row: RecurringJob | None = self._rows.filter(name=name).first() if is_storable(name) else None
        return row

    @property
    def _rows(self) -> Any:
        return edits.rows_of(self.database)


def _runs_otherwise(row: RecurringJob, declared: Declared) -> bool:
    fields = declared.fields()
    return row.retired_at is not None or any(getattr(row, key) != fields[key] for key in edits.WHEN if key in fields)


def _payload(
    row: RecurringJob,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    queue: str | None,
    priority: int | str | None,
) -> JobPayload:
    """A job of this schedule, checked as its enqueueing by hand would be: somebody waits for the answer."""
    definition = lookup(row.task)
    if args is None and kwargs is None:
        args, kwargs = decode_call(row.args) if row.args else ((), {})
    definition.bind(args or (), kwargs or {})
    values = job_fields(definition.task, args or (), kwargs or {})
    if queue or row.queue:
        values["queue"] = queue or row.queue
    chosen = row.priority if priority is None else parse_priority(priority)
    if chosen is not None:
        values["priority"] = chosen
    return JobPayload(**values)
