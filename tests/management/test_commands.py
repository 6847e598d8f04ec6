from __future__ import annotations

import json
from argparse import ArgumentTypeError
from datetime import timedelta
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import BaseCommand, CommandError, call_command
from django.db import OperationalError

from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.management import arguments
from django_jobqueue.management.commands import queue_work, scheduler_run
from django_jobqueue.models import DeadLetterJob, Job, JobHistory
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import WorkerIdentity
from tests.lifecycle.letters import ADD, die, write_history, write_letter
from tests.queues.hooks import claim_one, job
from tests.stores import ONE_STORE

pytestmark = pytest.mark.django_db


@pytest.fixture
def queue():
    return get_queue()


@pytest.fixture(autouse=True)
def one_store(settings):
    """Not the other databases of the test run: some commands look at all stores."""
    settings.TASKS = ONE_STORE


def run(*words, **options):
    out, err = options.pop("stdout", StringIO()), StringIO()
    call_command(*map(str, words), stdout=out, stderr=err, **options)
    return out.getvalue() + err.getvalue()


def run_json(*words):
    return json.loads(run(*words, "--json"))


# arguments


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("7d", timedelta(days=7)),
        ("36h", timedelta(hours=36)),
        ("90m", timedelta(minutes=90)),
        ("1d12h", timedelta(hours=36)),
        ("2W", timedelta(weeks=2)),
        ("0s", timedelta(0)),
    ],
)
def test_durations_are_read(text, span):
    assert arguments.duration(text) == span


@pytest.mark.parametrize("text", ["", "7", "d", "-7d", "7 d", "7dd", "7y", "1.5h", "99999w", "9" * 50 + "d", "٣d"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ArgumentTypeError, match=r"write 90s|hundred years"):
        arguments.duration(text)


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "1e3", "9" * 30, "²"])
def test_what_is_no_positive_number_is_refused(text):
    with pytest.raises(ArgumentTypeError):
        arguments.positive(text)


COMMANDS = [
    ("queue_failed",),
    ("queue_retry", "--all"),
    ("queue_clear", "--no-input"),
    ("queue_status",),
    ("queue_cleanup", "--older-than", "7d"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_an_unknown_backend_is_told_with_those_there_are(words):
    with pytest.raises(CommandError, match=r"nowhere.*Entries that will do: default"):
        run(*words, "--backend", "nowhere")


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_every_report_is_json_when_asked(words):
    assert run_json(*words) is not None


@pytest.mark.parametrize("words", COMMANDS[:4], ids=lambda words: words[0])
def test_an_unknown_queue_is_told_with_the_one_that_was_meant(words):
    write_letter(queue="emails")
    with pytest.raises(CommandError, match="Did you mean 'emails'"):
        run(*words, "--queue", "email")
    with pytest.raises(CommandError, match="Known: default, emails"):
        run(*words, "--queue", "xyz")
    run(*words, "--queue", "emails.dlq")


# queue_failed


def test_failed_lists_counts_and_shows_one(queue):
    letter = die(queue, queue="emails")
    write_letter(error_class="", error_message="", reason="unknown_task")

    assert "ValueError: boom" in run("queue_failed")
    assert str(letter.id) in run("queue_failed", "--queue", "emails.dlq", "--error", "ValueError", "--since", "1h")
    assert "No dead letters" in run("queue_failed", "--task", "nothing")
    assert [row["id"] for row in run_json("queue_failed", "--reason", "exhausted")] == [str(letter.id)]
    assert len(run_json("queue_failed", "--limit", "1")) == 1
    assert {row["count"] for row in run_json("queue_failed", "--group")} == {1}
    assert "exhausted" in run("queue_failed", "--group")
    whole = run("queue_failed", letter.id)
    assert 'File "x.py"' in whole
    assert letter.args in whole
    assert run_json("queue_failed", letter.id)["traceback"] == letter.traceback


def test_failed_says_when_there_is_no_such_letter():
    with pytest.raises(CommandError, match=r"`queue_failed` lists"):
        run("queue_failed", uuid4())
    with pytest.raises(CommandError, match="no job id"):
        run("queue_failed", "seven")


def test_what_is_stored_cannot_steer_the_terminal():
    letter = write_letter(task="\x1b[2Jgone", error_message="a\nb\x07")
    for text in (run("queue_failed"), run("queue_failed", letter.id), run("queue_failed", "--group")):
        assert "\x1b" not in text
        assert "\x07" not in text


# queue_cancel


def test_cancel_says_what_it_did(queue):
    waits, runs = job(), job()
    queue.push(runs)
    claim_one(queue)
    queue.push(waits)
    assert f"{waits.id} cancelled" in run("queue_cancel", waits.id)
    assert f"{runs.id} runs, and was asked to stop" in run("queue_cancel", runs.id)
    assert run_json("queue_cancel", runs.id, "--kill") == {"cancelled": [], "asked": [str(runs.id)], "nothing": []}
    assert queue.cancellations(queue.find(runs.id).worker_id) == {runs.id: True}


def test_cancel_does_what_it_can_and_says_what_it_could_not(queue):
    waits = job()
    queue.push(waits)
    with pytest.raises(CommandError, match=r"1 of 2 neither wait nor run in 'default'"):
        run("queue_cancel", uuid4(), waits.id)
    assert queue.find(waits.id) is None


# queue_retry


def test_retry_brings_back_by_id_and_by_filter(queue):
    one, two, three = die(queue), die(queue, queue="emails"), die(queue, queue="emails")
    assert "1 brought back, 0 refused" in run("queue_retry", one.id)
    assert run_json("queue_retry", "--all", "--queue", "emails.dlq")["retried"] == sorted([str(two.id), str(three.id)])
    assert Job.objects.count() == 3


def test_retry_reports_what_it_could_not_do(queue):
    queue.push(JobPayload(task=ADD, args="{}", unique_key="k"))
    letter = write_letter(unique_key="k")
    assert f"{letter.id} stays dead" in run("queue_retry", letter.id)
    assert str(letter.id) in run_json("queue_retry", "--all")["refused"]


def test_retry_with_an_unknown_id_does_nothing(queue):
    letter = write_letter()
    with pytest.raises(CommandError, match="Nothing was retried"):
        run("queue_retry", letter.id, uuid4())
    assert DeadLetterJob.objects.get() == letter


def test_retry_must_be_told_which():
    for words in ([], ["--queue", "default"], [uuid4(), "--all"]):
        with pytest.raises(CommandError, match="Say which"):
            run("queue_retry", *words)
    with pytest.raises(CommandError, match="go with --all"):
        run("queue_retry", uuid4(), "--task", "x")


# queue_clear


def test_clear_removes_what_waits(queue):
    queue.push(JobPayload(task=ADD, args="{}"), JobPayload(task=ADD, args="{}", delay=60, queue="emails"))
    assert run_json("queue_clear", "--queue", "emails", "--no-input") == {"removed": 1}
    assert "1 removed" in run("queue_clear", "--no-input")


def test_clear_of_a_dead_letter_queue_discards_its_letters_only(queue):
    write_letter(queue="emails")
    other = write_letter()
    queue.push(JobPayload(task=ADD, args="{}", queue="emails"))
    assert "1 discarded" in run("queue_clear", "--queue", "emails.dlq", "--no-input")
    assert DeadLetterJob.objects.get() == other
    assert JobHistory.objects.get().outcome == "discarded"
    assert Job.objects.count() == 1


def test_clear_asks_first(queue, monkeypatch):
    queue.push(JobPayload(task=ADD, args="{}"))
    asked = []
    monkeypatch.setattr("builtins.input", lambda words: asked.append(words) or "no")
    with pytest.raises(CommandError, match="Nothing was done"):
        run("queue_clear")
    assert "ALL queues" in asked[0]
    assert Job.objects.count() == 1
    monkeypatch.setattr("builtins.input", lambda words: "yes")
    run("queue_clear")
    assert not Job.objects.exists()


# queue_status


def test_status_shows_rooms_and_workers(queue):
    assert "No workers" in run("queue_status")
    write_letter(queue="emails")
    queue.push(JobPayload(task=ADD, args="{}"), JobPayload(task=ADD, args="{}", delay=60))
    queue.join(WorkerIdentity(name="w1", queues=("emails",)))

    text = run("queue_status")
    assert "oldest ready" in text
    assert "w1" in text
    (status,) = run_json("queue_status")["stores"]
    counts = {row["queue"]: (row["ready"], row["delayed"], row["dead"]) for row in status["queues"]}
    assert counts == {"default": (1, 1, 0), "emails": (0, 0, 1)}
    assert status["workers"][0]["silent"] is False
    (narrowed,) = run_json("queue_status", "--queue", "emails.dlq")["stores"]
    assert [row["queue"] for row in narrowed["queues"]] == ["emails"]


# queue_cleanup


def test_cleanup_deletes_history_and_dead_letters_only_when_asked():
    write_history()
    write_letter()
    assert "0 history" in run("queue_cleanup", "--older-than", "7d")
    assert run_json("queue_cleanup", "--older-than", "0s") == {"deleted": {"history": 1, "workers": 0}}
    assert DeadLetterJob.objects.exists()
    assert run_json("queue_cleanup", "--older-than", "0s", "--dead-letters")["deleted"]["dead_letters"] == 1
    with pytest.raises(CommandError, match="older-than"):
        run("queue_cleanup")


@pytest.mark.parametrize(("module", "option"), [(queue_work, "--drain"), (scheduler_run, "--once")])
def test_p10_a_database_that_the_checks_cannot_ask_keeps_nobody_from_starting(module, option, monkeypatch, capsys):
    """Scar: Django's checks connect to MariaDB; a worker that was started during an outage ended at once."""

    def refuse(*_, **__):
        raise OperationalError("gone away")

    started = []
    monkeypatch.setattr(BaseCommand, "check", refuse)
    monkeypatch.setattr(module.Command, "handle", lambda *_, **__: started.append(1))
    call_command(module.Command(), option, skip_checks=False)
    assert started
    assert "could not ask their database: gone away" in capsys.readouterr().err
