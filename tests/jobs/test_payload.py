"""What is enqueued, as a value: its shapes, and what it refuses before any database has to."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal

import pytest

from django_jobqueue import JobPayload, QueuePriority
from django_jobqueue.exceptions import InvalidPayload, InvalidPriority, PayloadError
from tests.api import tasks

CALL = '{"args":[],"kwargs":{}}'
MOMENT = datetime(2030, 1, 1, tzinfo=UTC)


class NoOffset(tzinfo):
    def utcoffset(self, moment):
        return None


def made(**values):
    return JobPayload(**{"task": "shop.tasks.mail", "args": CALL, **values})


class TestShapes:
    def test_create_takes_the_tasks_own_values(self):
        payload = JobPayload.create(tasks.named, [7])
        assert (payload.task, payload.queue, payload.priority) == ("shop.orders.import", "emails", 50)
        assert (payload.max_attempts, payload.timeout) == (3, 30)
        assert json.loads(payload.args) == {"args": [7], "kwargs": {}}
        assert not payload.is_delayed

    def test_and_overrides(self):
        payload = JobPayload.create(
            tasks.named,
            kwargs={"number": 7},
            queue="bulk",
            priority="low",
            delay=timedelta(minutes=1),
            max_attempts=9,
            unique_key="k",
            concurrency_key="c",
            timeout=1.5,
        )
        assert (payload.queue, payload.priority, payload.delay, payload.max_attempts) == ("bulk", -50, 60, 9)
        assert (payload.unique_key, payload.concurrency_key, payload.timeout) == ("k", "c", 1.5)
        assert payload.is_delayed

    def test_a_task_with_other_values(self):
        payload = JobPayload.create(tasks.named.using(queue_name="bulk", priority=-3, run_after=MOMENT))
        assert (payload.queue, payload.priority, payload.run_after) == ("bulk", -3, MOMENT)

    @pytest.mark.parametrize(
        ("shape", "priority"),
        [(JobPayload.immediate, 50), (JobPayload.critical, 100), (JobPayload.background, -50)],
    )
    def test_ready_at_once(self, shape, priority):
        payload = shape(tasks.named, 7, extra=True)
        assert (payload.priority, payload.is_delayed) == (priority, False)
        assert json.loads(payload.args) == {"args": [7], "kwargs": {"extra": True}}

    @pytest.mark.parametrize(
        ("delay", "seconds"), [(5, 5), (0, 0), (0.25, 0.25), (timedelta(hours=2), 7_200), (timedelta(0), 0)]
    )
    def test_delayed(self, delay, seconds):
        payload = JobPayload.delayed(tasks.named, delay, 7)
        assert (payload.delay, payload.is_delayed) == (seconds, True)
        assert json.loads(payload.args)["args"] == [7]

    def test_a_registered_name_stands_for_its_task(self):
        assert JobPayload.create("shop.orders.import", [7]).using(id=None) == JobPayload.create(tasks.named, [7]).using(
            id=None
        )

    def test_another_name_for_what_is_given(self):
        payload = JobPayload.create("elsewhere.tasks.mail", ["a"], queue="mails", priority="high", max_attempts=3)
        assert (payload.task, payload.queue, payload.priority) == ("elsewhere.tasks.mail", "mails", 50)
        assert (payload.max_attempts, payload.args) == (3, '{"args":["a"],"kwargs":{}}')

    @pytest.mark.parametrize("wrong", [None, 5, print, object, {}, tasks])
    def test_what_is_no_task(self, wrong):
        with pytest.raises(InvalidPayload, match="is not a task"):
            JobPayload.create(wrong)

    def test_arguments_that_cant_be_stored(self):
        for shape in (JobPayload.immediate, JobPayload.critical, JobPayload.background):
            for task in (tasks.echo, "elsewhere.tasks.mail"):
                with pytest.raises(PayloadError, match=r"^args\[0\]: Unsupported type"):
                    shape(task, date(2026, 1, 1))

    def test_ids_are_new_and_grow(self):
        ids = [JobPayload.immediate(tasks.echo).id for _ in range(3)]
        assert ids == sorted(set(ids))

    def test_using_is_another_job_unless_told_otherwise(self):
        payload = made()
        assert payload.using(priority=3).id > payload.id
        assert payload.using(priority=3, id=payload.id).id == payload.id
        with pytest.raises(InvalidPayload):
            payload.using(priority=300)

    def test_it_is_a_value(self):
        payload = made(priority=QueuePriority.HIGH)
        assert pickle.loads(pickle.dumps(payload)) == payload
        assert len({payload, made(id=payload.id, priority=50)}) == 1
        with pytest.raises(FrozenInstanceError):
            payload.priority = 3


class TestRefused:
    @pytest.mark.parametrize(
        "queue", ["", " ", "a b", "a,b", "é", "x" * 101, "a\n", "a\x00", "\ud800", "a/b", None, 5, b"default"]
    )
    def test_queue_names(self, queue):
        with pytest.raises(InvalidPayload, match=r"queue name .*: use 1 to 100 letters"):
            made(queue=queue)

    @pytest.mark.parametrize("queue", ["a", "x" * 100, "emails.dlq", "under_score", "with-dash", "9"])
    def test_not_these(self, queue):
        assert made(queue=queue).queue == queue

    @pytest.mark.parametrize("task", ["", "x" * 256, None, 5, "nul\x00", "\udfff", b"task"])
    def test_task_names(self, task):
        with pytest.raises(InvalidPayload, match=r"^task "):
            made(task=task)

    @pytest.mark.parametrize("priority", [-101, 101, 1000, 1.5, "high", None, True, 10**30])
    def test_priorities(self, priority):
        with pytest.raises(InvalidPayload, match="priority must be a whole number between -100 and 100"):
            made(priority=priority)

    @pytest.mark.parametrize("priority", [-101, 1000, 1.5, "urgent", True, [], 10**5_000], ids=lambda it: str(type(it)))
    def test_priorities_given_to_create(self, priority):
        with pytest.raises(InvalidPriority, match="whole number from -100 to 100"):
            JobPayload.create(tasks.echo, priority=priority)

    @pytest.mark.parametrize("attempts", [0, -1, 32_001, 2.5, "3", None, True, float("nan")])
    def test_attempts(self, attempts):
        with pytest.raises(InvalidPayload, match="max_attempts must be a whole number between 1 and 32,000"):
            made(max_attempts=attempts)

    @pytest.mark.parametrize(
        "delay",
        [-1, -0.001, float("nan"), float("inf"), 1e300, "5", True, Decimal(5), timedelta(days=-1), timedelta.max],
    )
    def test_delays(self, delay):
        with pytest.raises(InvalidPayload, match="delay must be between 0 seconds and a hundred years"):
            JobPayload.delayed(tasks.echo, delay)

    @pytest.mark.parametrize(
        "moment", [datetime(2030, 1, 1), MOMENT.replace(tzinfo=NoOffset()), date(2030, 1, 1), "2030-01-01", 5]
    )
    def test_moments_without_a_zone_and_no_moments(self, moment):
        with pytest.raises(InvalidPayload, match="run_after must be an aware datetime"):
            made(run_after=moment)

    @pytest.mark.parametrize(
        "moment",
        [
            datetime.min.replace(tzinfo=UTC),
            datetime.max.replace(tzinfo=UTC),
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
            datetime(999, 12, 31, tzinfo=UTC),
        ],
    )
    def test_moments_some_database_has_no_date_for(self, moment):
        with pytest.raises(InvalidPayload, match="between the years 1000 and 9998"):
            made(run_after=moment)

    def test_a_moment_and_a_delay(self):
        with pytest.raises(InvalidPayload, match="not both"):
            made(run_after=MOMENT, delay=5)

    @pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "30", True, timedelta(seconds=3)])
    def test_timeouts(self, timeout):
        with pytest.raises(InvalidPayload, match="timeout must be more than 0 seconds"):
            made(timeout=timeout)

    @pytest.mark.parametrize("field", ["unique_key", "concurrency_key"])
    @pytest.mark.parametrize("key", ["x" * 201, 5, b"key", "nul\x00", "\ud800"])
    def test_keys(self, field, key):
        with pytest.raises(InvalidPayload, match=f"^{field} "):
            made(**{field: key})

    def test_an_empty_key_would_hold_back_every_other_empty_one(self):
        with pytest.raises(InvalidPayload, match="unique_key must have 1 to 200 characters"):
            made(unique_key="")
        assert made(concurrency_key="", unique_key=None).unique_key is None

    @pytest.mark.parametrize("key", ["é" * 200, "customer 7", "🎈"])
    def test_keys_of_any_text(self, key):
        assert made(unique_key=key, concurrency_key=key).unique_key == key
