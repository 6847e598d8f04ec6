"""Nothing that a chore does, or fails to do, can hold up a tick, another chore or the end."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import connections, transaction
from django.utils import timezone

from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.schedule import every
from django_jobqueue.models import Job, RecurringJob
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import Room
from django_jobqueue.scheduling.running import scheduler_thread
from django_jobqueue.scheduling.service import SchedulerService
from tests.lifecycle.letters import ADD
from tests.scheduling.chores import DAY, everywhere, row
from tests.stores import NOBODY_LISTENS, two_stores
from tests.testapp.tasks import noop
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_other_chores")]


@everywhere
def test_a_chore_that_fails_shows_its_error_and_is_tried_again_later_and_later(database, own, runner, caplog):
    state = {"broken": True}

    def work(round):
        if state["broken"]:
            raise ValueError("no \x00 such thing")

    own.add("mine", work)
    one = runner(database)
    for failures, pause in ((1, 5), (2, 10), (3, 20)):
        RecurringJob.objects.using(database).update(due_at=timezone.now(), next_run_at=timezone.now())
        one.start(["chore:mine"])
        wait_until(lambda failures=failures: row("mine", database).failures == failures)
        wait_until(lambda: not one._running)
        found = row("mine", database)
        assert found.last_error == "ValueError: no � such thing"
        assert pause - 3 < (found.due_at - timezone.now()).total_seconds() <= pause
    assert "Traceback" in caplog.text
    state["broken"] = False
    one.start(["chore:mine"])
    wait_until(lambda: row("mine", database).failures == 0)
    assert row("mine", database).last_error == ""


def test_a_failure_never_brings_a_tick_forward_nor_a_paused_chore_back(own, runner):
    own.add("mine", lambda round: 1 / 0)
    one = runner()
    due_at = row("mine").due_at
    RecurringJob.objects.update(due_at=due_at + DAY)
    one.start(["chore:mine"])
    wait_until(lambda: row("mine").failures == 1 and not one._running)
    assert row("mine").due_at == due_at + DAY
    RecurringJob.objects.update(due_at=None, enabled=False)
    one.start(["chore:mine"])
    wait_until(lambda: row("mine").failures == 2 and not one._running)
    assert row("mine").due_at is None


def test_one_store_that_is_away_does_not_keep_the_chore_from_the_others(runner, settings, caplog):
    settings.TASKS = {"fast": two_stores(NOBODY_LISTENS)["fast"], "default": two_stores()["default"]}
    queue = get_queue()
    [job_id] = queue.push(JobPayload.create(ADD, (1, 2), delay=0))
    one = runner()
    one.start(["chore:promote"])
    wait_until(lambda: queue.find(job_id).room is Room.READY)
    wait_until(lambda: row("promote").failures == 1)
    assert "Traceback" not in caplog.text  # an outage is no bug


def test_a_chore_that_hangs_holds_up_nothing_and_says_so(own, runner, gate, caplog):
    entered, ran = [], []
    own.add("hangs", lambda round: (entered.append(1), gate.wait(60)), limit=0.1)
    own.add("goes", lambda round: ran.append(1))
    one = runner()
    before = time.monotonic()
    one.start(["chore:hangs", "chore:goes"])
    assert time.monotonic() - before < 5
    wait_until(lambda: entered and ran)

    def told():
        one.start(["chore:hangs", "chore:goes"])
        return row("hangs").last_error

    assert "longer than its limit" in wait_until(told)
    assert caplog.text.count("The chore hangs hangs.") == 1
    assert entered == [1]  # never twice at a time
    gate.set()
    wait_until(lambda: row("hangs").last_error == "" and row("hangs").failures == 0)
    wait_until(lambda: one.start(["chore:hangs"]) or len(entered) == 2)


def test_a_chore_that_is_being_done_is_not_begun_again(own, runner, gate):
    begun = []
    own.add("slow", lambda round: begun.append(1) or gate.wait(20))
    one = runner()
    one.start(["chore:slow"])
    wait_until(lambda: begun)
    one.start(["chore:slow", "chore:slow"])
    assert one._hands._todo.empty()
    gate.set()
    one.finish()
    assert begun == [1]
    one.start(["chore:slow"])
    one.finish()
    assert begun == [1, 1]


def test_the_end_does_not_wait_for_a_chore_that_hangs(own, runner, gate):
    entered = threading.Event()
    own.add("hangs", lambda round: (entered.set(), gate.wait(60)))
    one = runner()
    one.start(["chore:hangs"])
    assert entered.wait(20)
    before = time.monotonic()
    one.stop()
    assert time.monotonic() - before < 5
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "jobqueue-chores")


def test_a_chore_that_asks_is_told_to_end_with_the_scheduler_and_before_its_limit(own, runner):
    asked = []
    own.add("asks", lambda round: asked.append(round.goes_on(60)))
    own.add("slow", lambda round: asked.append([round.goes_on(), round.goes_on(6)]), limit=6)
    one = runner()
    one.start(["chore:slow"])
    wait_until(lambda: asked == [[True, False]])
    one.start(["chore:asks"])
    one.stop()
    wait_until(lambda: asked[1:] == [False])


def test_a_chore_nobody_knows_here_says_so_in_its_row(runner):
    one = runner()
    RecurringJob.objects.create(name="chore:of_another_release", kind="interval", expression="1 hour", source="chore")
    one.start(["chore:of_another_release"])
    wait_until(lambda: "no chore 'of_another_release'" in row("of_another_release").last_error)


def test_a_transaction_that_a_chore_left_open_is_nobody_elses(own, runner):
    def leaves(round):
        transaction.atomic().__enter__()

    own.add("leaves", leaves)
    own.add("next", lambda round: seen.append(connections["default"].in_atomic_block))
    one, seen = runner(), []
    one.start(["chore:leaves"])
    wait_until(lambda: not one._running)
    one.start(["chore:next"])
    wait_until(lambda: seen == [False])


def test_one_thread_is_kept_and_no_more(own, runner, gate):
    inside = []
    for name in ("a", "b", "c"):
        own.add(name, lambda round: (inside.append(1), gate.wait(60)))
    one = runner()
    one.start(["chore:a", "chore:b", "chore:c"])
    wait_until(lambda: len(inside) == 3)
    gate.set()
    wait_until(lambda: len(threads_of_chores()) == 1 and not one._running)
    first = threads_of_chores()
    one.start(["chore:a"])
    wait_until(lambda: len(inside) == 4 and not one._running)
    assert first == threads_of_chores()


def threads_of_chores():
    return {thread.ident for thread in threading.enumerate() if thread.name == "jobqueue-chores"}


def test_a_chore_for_which_there_is_no_thread_is_done_at_its_next_tick(own, runner, monkeypatch, caplog):
    done = []
    own.add("count", lambda round: done.append(1))
    one = runner()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse_to_start)
        one.start(["chore:count"])
    assert "There is no thread for a chore (can't start new thread)" in caplog.text
    one.start(["chore:count"])
    one.finish()
    assert done == [1]


def refuse_to_start(thread):
    raise RuntimeError("can't start new thread")


# beside schedules


@everywhere
def test_p7_a_chore_is_done_once_per_tick_however_many_schedulers_there_are(database, own, settings):
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": {"database": database}}}
    done = []
    own.add("counted", lambda round: done.append(round.database), schedule=every(seconds=1))
    threads = [scheduler_thread(database) for _ in range(3)]
    for one in threads:
        one.start()
    try:
        wait_until(lambda: len(done) >= 3)
    finally:
        for one in threads:
            one.stop()
    wait_until(lambda: not threads_of_chores())
    found = row("counted", database)
    ticks = int((found.last_run_at - every(seconds=1).next_after(found.changed_at)).total_seconds()) + 1
    assert 3 <= len(done) <= ticks  # fewer where the machine was so slow that several were one
    assert set(done) == {database}
    assert found.failures == 0


@everywhere
def test_a_chore_that_hangs_delays_no_schedule(database, own, gate, settings):
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": {"database": database}}}
    entered = []
    own.add("hangs", lambda round: (entered.append(1), gate.wait(60)), schedule=every(seconds=1))
    SchedulerService().schedule("each second", noop, every(seconds=1))
    thread = scheduler_thread(database)
    thread.start()
    try:
        wait_until(lambda: entered)
        before = Job.objects.using(database).count()
        wait_until(lambda: Job.objects.using(database).count() >= before + 2)
        assert entered == [1]
    finally:
        thread.stop()
