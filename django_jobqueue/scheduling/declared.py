"""Schedules that are declared in code: in the settings, an app's `schedules.py`, or `@task`. One form for all."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from django_jobqueue.compat import InvalidTaskBackend, as_django_tells_it, backend_of
from django_jobqueue.conf import conf, unknown_key
from django_jobqueue.decorators import BoundJob, Job, stored_name
from django_jobqueue.exceptions import InvalidPriority, InvalidSchedule, JobQueueError, UnknownTask
from django_jobqueue.jobs.codec import decode_call, encode_call
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.priority import parse_priority
from django_jobqueue.jobs.registry import lookup, registered_names
from django_jobqueue.jobs.schedule import Schedule, cron
from django_jobqueue.models import RecurringJob
from django_jobqueue.queues import get_queue
from django_jobqueue.scheduling.ticks import MOST_MISSED

MAX_NAME_LENGTH = 255
CHORE_PREFIX = "chore:"
YEARS = range(1000, 9999)
"""What every database stores, in any zone."""
JITTER = (0, 86_400)
GRACE = (1, 366 * 86_400)
"""From and to, in seconds. Without any grace each tick would be too late."""
MODULE = "schedules"
"""The module of an app, and in it, in capitals, the dictionary of its schedules."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A schedule as it is declared. `queue` "" and `priority` None: the task's own. `args` is the encoded call.

    `jitter` and `grace` are in seconds. What can't work raises `InvalidSchedule`, with the words for `manage.py check`.
    """

    name: str
    task: str
    schedule: Schedule
    args: str = ""
    backend: str = "default"
    queue: str = ""
    priority: int | None = None
    jitter: float = 0.0
    misfire: str = str(RecurringJob.Misfire.ONCE)
    misfire_limit: int = 10
    grace: float = 60.0
    overlap: str = str(RecurringJob.Overlap.ALLOW)
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 1 <= len(self.name) <= MAX_NAME_LENGTH:
            raise InvalidSchedule(f"a schedule's name has 1 to {MAX_NAME_LENGTH} characters, not {self.name!r:.60}")
        if not is_storable(self.name):
            raise InvalidSchedule(f"no database stores the name {self.name!r:.60}")
        if self.name.startswith(CHORE_PREFIX):
            raise InvalidSchedule(f"names that begin with {CHORE_PREFIX!r} are the scheduler's own")
        if not isinstance(self.schedule, Schedule):
            raise InvalidSchedule(
                f"'schedule' must be cron(…), every(…), at(…), manual() or the text of a cron expression, not "
                f"{self.schedule!r:.60}"
            )
        _check_word("misfire", self.misfire, RecurringJob.Misfire.values)
        _check_word("overlap", self.overlap, RecurringJob.Overlap.values)
        for key in ("queue", "backend"):
            if not isinstance(getattr(self, key), str):
                raise InvalidSchedule(f"{key!r} must be a text, not {getattr(self, key)!r:.60}")
        _check_number("jitter", self.jitter, *JITTER)
        _check_number("grace", self.grace, *GRACE)
        _check_number("misfire_limit", self.misfire_limit, 1, MOST_MISSED, (int,))
        for key in ("starts_at", "ends_at"):
            _check_moment(key, getattr(self, key))

    def fields(self) -> dict[str, Any]:
        """The columns of its row that code decides on."""
        values = {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name != "schedule"}
        times = {key: as_django_tells_it(values[key]) for key in ("starts_at", "ends_at")}
        when = {"kind": self.schedule.kind, "expression": self.schedule.expression, "timezone": self.schedule.timezone}
        return values | times | when


class Entry(NamedTuple):
    """A declaration as it was found: `where` in words, and the mapping that was written there, if it is one."""

    where: str
    name: str
    given: Any


@dataclass
class Declarations:
    """All that is declared. `problems` and `doubled` are sentences; what has one is in `broken` and not in `good`."""

    good: dict[str, Declared] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)


KEYS = (
    *("task", "schedule", "timezone", "args", "kwargs", "backend", "queue", "priority"),
    *("jitter", "misfire", "misfire_limit", "grace", "overlap", "starts_at", "ends_at"),
)
_USING = ("queue_name", "priority", "backend", "run_after", "unique_key", "concurrency_key", "timeout", "on_crash")


def declared() -> Declarations:
    """Every schedule that code declares. Two of one name are none: nobody could say which one is meant."""
    found, seen = Declarations(), dict[str, Entry]()
    for entry in _entries(found.problems):
        key = entry.name.casefold()  # some databases tell names apart no better than that
        if key in seen:
            found.doubled.append(f"{entry.where}: a schedule of this name is declared as {seen[key].where}, too.")
            for name in (entry.name, seen[key].name):
                found.good.pop(name, None)
                found.broken.add(name)
            continue
        seen[key] = entry
        try:
            found.good[entry.name] = declared_from(entry.name, entry.given)
        except Exception as error:  # whatever somebody wrote there: it must not keep the others from running
            words = str(error) if isinstance(error, InvalidSchedule) else f"{type(error).__name__}: {error}"
            found.problems.append(f"{entry.where}: {words.rstrip('.')}.")
            found.broken.add(entry.name)
    return found


def declared_from(name: str, given: Any) -> Declared:
    """Read an entry: a mapping with the keys `KEYS`. Raises `InvalidSchedule`."""
    if not isinstance(given, Mapping):
        raise InvalidSchedule(f"write a dictionary with 'task' and 'schedule', not {given!r:.60}")
    for key in given:
        if key not in KEYS:
            raise InvalidSchedule(unknown_key("it", key, KEYS).rstrip("."))
    values = {key: value for key, value in given.items() if key not in ("task", "args", "kwargs", "timezone")}
    task, call = _task_and_call(given)
    values = _own_values(task) | values
    values["schedule"] = _schedule(given)
    if values.get("priority") is not None:
        values["priority"] = _priority(values["priority"])
    made = Declared(name=name, task=stored_name(task), args=call, **values)
    _check_job(made)
    return made


def _check_job(made: Declared) -> None:
    """A job of it could be pushed, and run."""
    backend = _backend(made.backend)
    allowed = getattr(backend, "queues", None)
    if made.queue and allowed and made.queue not in allowed:
        raise InvalidSchedule(f"TASKS[{made.backend!r}] has no queue {made.queue!r} in its QUEUES")
    try:
        JobPayload(task=made.task, args=made.args, queue=made.queue or "default", priority=made.priority or 0)
        lookup(made.task).bind(*decode_call(made.args))
    except JobQueueError as error:
        raise InvalidSchedule(str(error).rstrip(".")) from None


def _backend(alias: Any) -> Any:
    try:
        get_queue(alias)
    except InvalidTaskBackend as error:
        raise InvalidSchedule(str(error).rstrip(".")) from None
    except (ImproperlyConfigured, ImportError):  # told by the checks of the backends
        pass
    return backend_of(alias)


def _task_and_call(given: Mapping[str, Any]) -> tuple[Any, str]:
    """The task, and its encoded arguments: those of a typed job are its fields."""
    task, args, kwargs = given.get("task"), given.get("args", ()), given.get("kwargs", {})
    if not isinstance(args, Sequence) or isinstance(args, str) or not isinstance(kwargs, Mapping):
        raise InvalidSchedule("'args' must be a list and 'kwargs' a dictionary")
    try:
        if isinstance(task, Job):
            return task.job_task, encode_call(args, {**task.arguments(), **kwargs})
        if isinstance(task, BoundJob):
            return task.task, encode_call(args, {**task.job.arguments(), **kwargs})
        call = encode_call(args, kwargs, conf().MAX_PAYLOAD_BYTES)
        return _known(task), call
    except JobQueueError as error:
        raise InvalidSchedule(str(error).rstrip(".")) from None


def _known(task: Any) -> Any:
    """The task behind a name, a task, or a class of typed jobs."""
    if isinstance(task, str):
        return lookup(task).task
    task = getattr(task, "job_task", task)
    if not hasattr(task, "module_path"):
        raise UnknownTask(f"'task' must be a task or the name of one, not {task!r:.60}")
    return task


def _own_values(task: Any) -> dict[str, Any]:
    """What `using` has changed, of what a row can hold; the rest would be lost without a word."""
    base = lookup(stored_name(task)).task
    changed = {key: getattr(task, key, None) for key in _USING if getattr(task, key, None) != getattr(base, key, None)}
    if lost := changed.keys() - {"queue_name", "priority", "backend"}:
        raise InvalidSchedule(f"a schedule can't change {', '.join(sorted(lost))} of its task: make a task of its own")
    values = {"backend": getattr(task, "backend", "default")}
    if "queue_name" in changed:
        values["queue"] = changed["queue_name"]
    if "priority" in changed:
        values["priority"] = changed["priority"]
    return values


def _schedule(given: Mapping[str, Any]) -> Any:
    when, zone = given.get("schedule"), given.get("timezone")
    if isinstance(when, str):
        return cron(when, zone)
    if zone is not None:
        raise InvalidSchedule("'timezone' goes with the text of a cron expression: write cron(…, timezone=…)")
    return when


def _priority(value: Any) -> int:
    try:
        return parse_priority(value)
    except InvalidPriority as error:
        raise InvalidSchedule(str(error)) from None


def _entries(problems: list[str]) -> Iterator[Entry]:
    yield from _of_mapping("JOBQUEUE['SCHEDULES']", conf().SCHEDULES, problems)
    for app in apps.get_app_configs():
        module = sys.modules.get(f"{app.name}.{MODULE}")
        given = getattr(module, MODULE.upper(), None)
        if given is not None:
            yield from _of_mapping(f"{app.name}.{MODULE}.{MODULE.upper()}", given, problems)
    for name in registered_names():
        task = lookup(name).task
        when = getattr(task, "schedule", None)
        if when is not None:
            more = when if isinstance(when, Mapping) else {"schedule": when}
            yield Entry(f"@task(schedule=…) of {name}", name, {**more, "task": task})


def _of_mapping(where: str, given: Any, problems: list[str]) -> Iterator[Entry]:
    if not isinstance(given, Mapping):
        problems.append(f"{where} must be a dictionary by the names of schedules, not {type(given).__name__}.")
        return
    for name, entry in given.items():
        if isinstance(name, str):
            yield Entry(f"{where}[{name!r}]", name, entry)
        else:
            problems.append(f"{where}: {name!r:.60} is no name of a schedule.")


def _check_word(key: str, value: Any, words: Sequence[str]) -> None:
    if value not in words:
        raise InvalidSchedule(f"{key!r} must be one of {', '.join(map(repr, words))}, not {value!r:.60}")


def _check_number(key: str, value: Any, least: float, most: float, kinds: tuple[type, ...] = (int, float)) -> None:
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:  # type: ignore[operator]
        raise InvalidSchedule(f"{key!r} must be a number from {least:,} to {most:,}, not {value!r:.60}")


def _check_moment(key: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise InvalidSchedule(f"{key!r} must be an aware datetime (with a time zone), not {value!r:.60}")
    if value.year not in YEARS:
        raise InvalidSchedule(f"{key!r} must be between the years {YEARS[0]} and {YEARS[-1]}, not {value}")


def is_storable(text: str) -> bool:
    """No NUL and no lone surrogate."""
    return "\x00" not in text and text.encode(errors="ignore").decode() == text
