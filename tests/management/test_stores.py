"""Commands in a project with two stores: one entry of TASKS, or all."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError
from django.utils import timezone

from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.models import DeadLetterJob, JobHistory
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import WorkerIdentity
from tests.lifecycle.letters import ADD, die, write_history, write_letter
from tests.management.test_commands import run, run_json
from tests.stores import NOBODY_LISTENS, empty_fast, show, two_stores

pytestmark = pytest.mark.django_db(transaction=True)
redis = pytest.mark.redis


@pytest.fixture
def default():
    return get_queue("default")


@pytest.fixture
def fast(settings):
    settings.TASKS = two_stores()
    return empty_fast()


@pytest.fixture
def away(settings):
    settings.TASKS = two_stores(NOBODY_LISTENS)


def push(queue, /, **fields):
    return queue.push(JobPayload(**{"task": ADD, "args": '{"args":[1,2],"kwargs":{}}', **fields}))[0]


# queue_status


@redis
def test_status_shows_all_stores_or_one(fast, default):
    push(default, queue="emails")
    push(fast, queue="quick")
    die(fast, queue="bad")
    show(fast, WorkerIdentity(name="quick-worker"))
    default.join(WorkerIdentity(name="slow-worker"))

    text = run("queue_status")
    assert text.index("default:") < text.index("emails") < text.index("slow-worker")
    assert text.index("slow-worker") < text.index("fast:") < text.index("quick") < text.index("quick-worker")
    mine, theirs = run_json("queue_status")["stores"]
    assert (mine["backend"], mine["problem"], theirs["backend"]) == ("default", "", "fast")
    assert (mine["server"], theirs["server"]["role"]) == ({}, "primary")
    assert "connections in use; answers in" in run("queue_status", backend="fast")
    assert [worker["name"] for worker in theirs["workers"]] == ["quick-worker"]
    counts = {row["queue"]: (row["ready"], row["dead"]) for row in theirs["queues"]}
    assert counts == {"quick": (1, 0), "bad": (0, 1)}
    (alone,) = run_json("queue_status", "--backend", "fast")["stores"]
    assert [row["queue"] for row in alone["queues"]] == ["bad", "quick"]
    assert "slow-worker" not in run("queue_status", "--backend", "fast")


@redis
def test_a_queue_is_known_when_one_store_knows_it(fast):
    push(fast, queue="quick")
    assert [len(store["queues"]) for store in run_json("queue_status", "--queue", "quick")["stores"]] == [0, 1]
    with pytest.raises(CommandError, match=r"no queue 'quik' in 'default', 'fast'. Did you mean 'quick'"):
        run("queue_status", "--queue", "quik")
    with pytest.raises(CommandError, match="no queue 'quick' in 'default'"):
        run("queue_status", "--queue", "quick", "--backend", "default")


def test_a_store_that_is_away_is_told_and_the_rest_is_shown(away, default):
    push(default, queue="emails")
    out = StringIO()
    with pytest.raises(CommandError, match="No answer from fast"):
        run("queue_status", stdout=out)
    assert "emails" in out.getvalue()
    assert "The store 'fast' is out of reach" in out.getvalue()
    out = StringIO()
    with pytest.raises(CommandError):
        run("queue_status", "--json", stdout=out)
    mine, theirs = json.loads(out.getvalue())["stores"]
    assert (mine["problem"], len(mine["queues"])) == ("", 1)
    assert "did not answer" in theirs["problem"]
    with pytest.raises(CommandError, match="No answer from fast"):
        run("queue_status", "--backend", "fast", "--queue", "unheard-of")


# dead letters


@redis
def test_dead_letters_are_those_of_the_store_that_is_named(fast, default):
    mine, theirs = die(default), die(fast)
    assert [row["id"] for row in run_json("queue_failed")] == [str(mine.id)]
    assert [row["id"] for row in run_json("queue_failed", "--backend", "fast")] == [str(theirs.id)]
    assert [row["count"] for row in run_json("queue_failed", "--group", "--backend", "fast")] == [1]
    assert run_json("queue_failed", theirs.id, "--backend", "fast")["store"] == "fast"
    with pytest.raises(CommandError, match="no dead letter of 'default'"):
        run("queue_failed", theirs.id)


@redis
def test_dead_letters_go_back_to_the_store_that_is_named(fast, default):
    mine, one, two = die(default), die(fast), die(fast)
    with pytest.raises(CommandError, match="Not among the dead letters of 'fast'"):
        run("queue_retry", mine.id, one.id, "--backend", "fast")
    assert DeadLetterJob.objects.count() == 3
    assert "1 brought back" in run("queue_retry", one.id, "--backend", "fast")
    assert run_json("queue_retry", "--all", "--backend", "fast")["retried"] == [str(two.id)]
    assert fast.size() == 2
    assert DeadLetterJob.objects.get() == mine


def test_dead_letters_can_be_read_while_their_store_is_away(away):
    letter = write_letter(store="fast", queue="emails")
    assert str(letter.id) in run("queue_failed", "--backend", "fast", "--queue", "emails.dlq")
    assert "boom" in run("queue_failed", letter.id, "--backend", "fast")


AWAY = [
    ("queue_failed", "--queue", "unheard-of"),
    ("queue_retry", "--all", "--queue", "unheard-of"),
    ("queue_retry", "--all"),
    ("queue_clear", "--no-input"),
    ("queue_clear", "--no-input", "--queue", "emails"),
    ("queue_clear", "--no-input", "--queue", "emails.dlq"),
]


@pytest.mark.parametrize("words", AWAY, ids=" ".join)
def test_a_store_that_is_away_is_an_error_in_a_sentence(away, words):
    letter = write_letter(store="fast", queue="emails")
    with pytest.raises(CommandError, match=r"out of reach|did not answer"):
        run(*words, "--backend", "fast")
    assert DeadLetterJob.objects.get() == letter


# queue_clear, queue_cleanup


@redis
def test_clear_empties_the_store_that_is_named(fast, default):
    push(default)
    push(fast, queue="quick")
    push(fast, queue="quick", delay=60)
    mine, theirs = die(default, queue="bad"), die(fast, queue="bad")
    assert run_json("queue_clear", "--queue", "quick", "--no-input", "--backend", "fast") == {"removed": 2}
    assert (fast.size(), default.size()) == (0, 1)
    assert run_json("queue_clear", "--queue", "bad.dlq", "--no-input", "--backend", "fast") == {"discarded": 1}
    assert DeadLetterJob.objects.get() == mine
    assert JobHistory.objects.get(outcome="discarded").job_id == theirs.pk


def test_cleanup_is_of_all_stores_or_of_one(away):
    old = timezone.now() - timedelta(days=9)
    for store in ("", "fast", "gone"):
        write_history(store=store, finished_at=old)
        write_letter(store=store, failed_at=old)
    words = ("queue_cleanup", "--older-than", "7d", "--dead-letters")
    one = {"deleted": {"history": 1, "workers": 0, "dead_letters": 1}}
    assert run_json(*words, "--backend", "fast") == one
    assert run_json(*words, "--backend", "default") == one
    assert run_json(*words) == one  # of a store that is not in TASKS any more
