"""rq-scheduler: a sorted set of job ids by their next run, and a hash for each job.

Layout as of rq-scheduler 0.14 and rq 3. What to call and how often is in pickles (or JSON, where the project chose
that): they are read without being run, see `pickled`.
"""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django_jobqueue.jobs.schedule import Schedule, at, cron, every
from django_jobqueue.scheduling.importers.found import Found, NoSource, Origin, Refused, attempt, last_of
from django_jobqueue.scheduling.importers.pickled import MAX_BYTES, NotPlain, plain_value

_SCHEDULED = "rq:scheduler:scheduled_jobs"
_JOB = "rq:job:"
_FIELDS = ("data", "meta", "origin", "description")
_PER_TRIP = 500
_TINY = timedelta(microseconds=1)


def read(origin: Origin) -> list[Found]:
    if not origin.url:
        raise NoSource("rq-scheduler keeps its jobs in Redis: say where, with --url redis://host:6379/0.")
    try:
        import redis
    except ImportError:
        raise NoSource(
            "rq-scheduler keeps its jobs in Redis: install redis (pip install redis) to read them."
        ) from None
    try:
        with redis.Redis.from_url(origin.url) as client:
            scheduled = client.zrange(_SCHEDULED, 0, -1, withscores=True)
            hashes = _hashes(client, [key for key, _ in scheduled])
    except (redis.RedisError, ValueError) as error:
        raise NoSource(f"Redis can't be read: {error}") from None
    jobs = [_Job(key, score, row) for (key, score), row in zip(scheduled, hashes, strict=True)]
    return [attempt(job.name, partial(_found, origin, job), job.task) for job in jobs]


def _hashes(client: Any, keys: list[bytes]) -> list[list[bytes | None]]:
    rows: list[list[bytes | None]] = []
    for start in range(0, len(keys), _PER_TRIP):
        pipeline = client.pipeline(transaction=False)
        for key in keys[start : start + _PER_TRIP]:
            pipeline.hmget(_JOB.encode() + key, _FIELDS)
        rows += pipeline.execute()
    return rows


class _Job:
    """One scheduled job, read as far as it can be. `problem` says what can't."""

    def __init__(self, key: bytes, score: float, row: list[bytes | None]) -> None:
        data, meta, origin, description = row
        self.id = key.decode(errors="replace")
        self.following = datetime.max.replace(tzinfo=UTC)
        self.queue = (origin or b"").decode(errors="replace")
        self.task = self.problem = ""
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}
        self.meta: Any = {}
        try:
            self.read_call(data)
            self.meta = _value(meta) if meta else {}
            self.following = datetime.fromtimestamp(score, UTC)
        except NotPlain as error:
            self.problem = f"its {'call' if not self.task else 'meta'} can't be read safely: {error}"
        except (ValueError, OverflowError, OSError):
            self.problem = f"its next run is no time: {score:g}"
        said = (description or b"").decode(errors="replace").partition("(")[0]
        self.name = f"{(self.task or said or 'job')[:180]} #{self.id[:36]}"  # nothing else there stays the same

    def read_call(self, data: bytes | None) -> None:
        if data is None:
            raise NotPlain("the job is gone from Redis")
        match _value(data):
            case (str(task), None, tuple() | list() as args, dict(kwargs)):
                self.task, self.args, self.kwargs = task, tuple(args), kwargs
            case (str(), _, _, _):
                raise NotPlain("it calls a method of an object")
            case _:
                raise NotPlain("it is no call")


def _value(data: bytes) -> Any:
    raw = _inflated(data)
    try:
        return json.loads(raw)
    except RecursionError:
        raise NotPlain("it is nested too deeply") from None
    except ValueError:
        return plain_value(raw)


def _inflated(data: bytes) -> bytes:
    """At most so much of it: a few bytes can stand for gigabytes."""
    try:
        return zlib.decompressobj().decompress(data, MAX_BYTES + 1)
    except zlib.error:
        return data


def _found(origin: Origin, job: _Job) -> Found:
    if job.problem:
        raise Refused(f"{job.problem}; write the schedule by hand")
    meta = job.meta if isinstance(job.meta, dict) else {}
    schedule = _schedule(origin, job, meta)
    repeat = int(meta["repeat"]) if schedule.kind != "once" and meta.get("repeat") is not None else 0
    return Found(
        name=job.name,
        task=job.task,
        args=job.args,
        kwargs=job.kwargs,
        schedule=schedule,
        queue=job.queue,
        ends_at=last_of(schedule, max(origin.now, job.following - _TINY), repeat) if repeat > 0 else None,
    )


def _schedule(origin: Origin, job: _Job, meta: dict[str, Any]) -> Schedule:
    if text := meta.get("cron_string"):
        return _cron(str(text), origin.timezone)
    if seconds := meta.get("interval"):
        return every(seconds=int(seconds), start=job.following)
    if job.following <= origin.now:
        raise Refused("its moment has passed")
    return at(job.following)


def _cron(text: str, timezone: str) -> Schedule:
    fields = text.split()
    if len(fields) == 5 and "*" not in (fields[2][0], fields[4][0]):
        raise Refused(
            f"it runs on days that are both {fields[2]!r} of the month and {fields[4]!r} of the week; cron takes days "
            f"that are either. Schedule one of the two and let the task look at the other"
        )
    return cron(text, timezone)
