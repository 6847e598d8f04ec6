"""A queue that grows too long: who is told, and what is done."""

from __future__ import annotations

import pytest

from django_jobqueue import JobPayload
from django_jobqueue.lifecycle.policy import QueuePolicy
from django_jobqueue.queues.base import Room
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.signals import backlog_changed
from django_jobqueue.workers.backlog import BacklogLevel, BacklogManager, level_of
from tests.queues.hooks import claim, joined

NORMAL, WARNING, CRITICAL = BacklogLevel


@pytest.fixture
def told():
    found: list[tuple[str, BacklogLevel, BacklogLevel, int]] = []

    def listen(sender, queue, level, before, stats, **_):
        found.append((queue, before, level, stats.ready))

    backlog_changed.connect(listen)
    yield found
    backlog_changed.disconnect(listen)


@pytest.fixture
def emails(settings):
    settings.JOBQUEUE = {
        "QUEUES": {
            "emails": {"backlog_warning": 5, "backlog_critical": 10, "backlog_priorities": {"shop.newsletter": "low"}},
            "default": {"timeout": 3},
        }
    }
    return MemoryQueue("default")


def push(queue, count, task="shop.receipt", name="emails"):
    payloads = [JobPayload.create(task, [n], queue=name) for n in range(count)]
    queue.push(*payloads)
    return payloads


@pytest.mark.parametrize(
    ("ready", "before", "level"),
    [
        (0, NORMAL, NORMAL),
        (4, NORMAL, NORMAL),
        (5, NORMAL, WARNING),
        (10, NORMAL, CRITICAL),
        (8, CRITICAL, CRITICAL),
        (7, CRITICAL, WARNING),
        (4, WARNING, WARNING),
        (3, WARNING, NORMAL),
        (3, CRITICAL, NORMAL),
    ],
)
def test_a_level_is_reached_at_its_threshold_and_left_well_below(ready, before, level):
    assert level_of(ready, QueuePolicy(backlog_warning=5, backlog_critical=10), before) is level


def test_one_threshold_is_enough():
    assert level_of(9, QueuePolicy(backlog_critical=10)) is NORMAL
    assert level_of(10**6, QueuePolicy(backlog_warning=10)) is WARNING


def test_people_are_told_once_for_each_change(emails, told):
    manager = BacklogManager(emails)
    for count in (4, 1, 1, 0, 6):
        push(emails, count)
        manager.check()
    assert told == [("emails", NORMAL, WARNING, 5), ("emails", WARNING, CRITICAL, 12)]
    assert manager.level is CRITICAL
    emails.clear("emails")
    manager.check()
    assert told[2:] == [("emails", CRITICAL, NORMAL, 0)]


def test_queues_without_thresholds_are_not_looked_at(settings, told):
    settings.JOBQUEUE = {"QUEUES": {"emails": {"timeout": 3}}}
    queue = MemoryQueue("default")
    push(queue, 1_000)
    queue.stats = None  # nobody asks
    BacklogManager(queue).check()
    assert told == []


def test_a_listener_that_fails_costs_nothing(emails):
    def broken(**_):
        raise RuntimeError

    backlog_changed.connect(broken)
    try:
        push(emails, 10)
        BacklogManager(emails).check()
    finally:
        backlog_changed.disconnect(broken)


def test_when_it_is_critical_named_tasks_go_behind_the_others(emails):
    news = push(emails, 6, "shop.newsletter")
    receipts = push(emails, 3)
    manager = BacklogManager(emails)
    manager.check()
    assert emails.peek("emails").job_id == news[0].id  # 9 are a warning only
    receipts += push(emails, 1)
    manager.check()
    worker = joined(emails)
    order = [one.job_id for one in claim(emails, 20, worker, ["emails"])]
    assert order == [one.id for one in (*receipts, *news)]


def test_those_that_have_it_already_keep_their_order(emails):
    news = push(emails, 12, "shop.newsletter")
    manager = BacklogManager(emails)
    for _ in range(3):
        manager.check()
    assert [one.job_id for one in claim(emails, 20, joined(emails), ["emails"])] == [one.id for one in news]


def test_another_queue_and_what_does_not_wait_are_left_alone(emails):
    other = push(emails, 1, "shop.newsletter", name="default")[0]
    delayed = JobPayload.create("shop.newsletter", queue="emails", delay=60)
    emails.push(delayed)
    push(emails, 12)
    BacklogManager(emails).check()
    assert [emails.find(one.id).priority for one in (other, delayed)] == [0, 0]
    assert emails.find(delayed.id).room is Room.DELAYED


def test_a_priority_that_is_none_is_logged_and_stops_nobody(settings, caplog):
    entry = {"backlog_critical": 1, "backlog_priorities": {"shop.newsletter": "urgentest"}}
    settings.JOBQUEUE = {"QUEUES": {"emails": entry}}
    queue = MemoryQueue("default")
    push(queue, 3, "shop.newsletter")
    BacklogManager(queue).check()
    assert "urgentest" in caplog.text
