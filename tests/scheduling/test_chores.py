"""What a scheduler does itself: that each chore has a row, is done, and does what it should."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connections, transaction
from django.utils import timezone

from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.schedule import every
from django_jobqueue.lifecycle.vigil import Vigil
from django_jobqueue.models import DeadLetterJob, JobHistory, RecurringJob, WorkerProcess
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import Room, WorkerIdentity
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.queues.redis import outbox
from django_jobqueue.scheduling import chores, housekeeping
from django_jobqueue.scheduling.chores import Chore, Round, chore
from tests.lifecycle.letters import ADD, write_history, write_letter
from tests.scheduling.chores import DAY, everywhere, row
from tests.stores import empty_fast, two_stores
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_other_chores")]


# rows


@everywhere
def test_each_chore_has_a_row_that_is_due_at_its_next_tick(database, runner):
    runner(database)
    rows = RecurringJob.objects.using(database).filter(source="chore").order_by("name")
    assert [one.name for one in rows] == ["chore:promote", "chore:prune", "chore:reclaim", "chore:sweep"]
    for one in rows:
        assert (one.due_at, one.enabled, one.task) == (one.next_run_at, True, one.name.removeprefix("chore:"))
        assert timedelta(0) < one.due_at - timezone.now() + timedelta(seconds=2) < timedelta(hours=1, seconds=4)


def test_a_second_start_changes_nothing_and_a_pause_stays(runner):
    runner()
    RecurringJob.objects.filter(name="chore:reclaim").update(enabled=False, due_at=None, next_run_at=None)
    before = list(RecurringJob.objects.order_by("pk").values())
    runner()
    assert list(RecurringJob.objects.order_by("pk").values()) == before


def test_a_chore_that_is_no_more_is_retired_and_comes_back(runner, settings):
    runner()
    settings.JOBQUEUE = {"KEEP_HISTORY": None}
    runner()
    assert row("prune").retired_at is not None
    assert row("prune").due_at is None
    settings.JOBQUEUE = {"KEEP_DEAD_LETTERS": 60}
    runner()
    assert row("prune").retired_at is None
    assert row("prune").due_at is not None


def test_another_interval_counts_from_now_on(runner, monkeypatch):
    runner()
    known = chores._registered["sweep"]
    monkeypatch.setitem(chores._registered, "sweep", Chore("sweep", every(minutes=1), known.work))
    runner()
    assert row("sweep").expression == "1 minute"
    assert row("sweep").due_at < timezone.now() + timedelta(seconds=62)


def test_a_schedule_that_has_the_name_of_a_chore_keeps_it(runner, caplog):
    RecurringJob.objects.create(name="chore:sweep", task=ADD, kind="manual")
    runner()
    assert row("sweep").source == "admin"
    assert row("promote").source == "chore"
    assert "The chore sweep is left out" in caplog.text


# what they do


@everywhere
def test_without_a_worker_what_is_due_is_made_ready(database, runner):
    """Who starts workers when jobs are ready would wait for ever: it takes a worker, else, to make them ready."""
    queue = get_queue(database)
    [job_id] = queue.push(JobPayload.create(ADD, (1, 2), delay=0))
    assert queue.find(job_id).room is Room.DELAYED
    runner(database).start(["chore:promote"])
    wait_until(lambda: queue.find(job_id).room is Room.READY)


@everywhere
def test_without_a_worker_what_a_dead_one_held_comes_back(database, runner):
    queue = get_queue(database)
    [job_id] = queue.push(JobPayload.create(ADD, (1, 2)))
    worker = WorkerIdentity()
    queue.join(worker)
    assert queue.pop((), worker.id).job_id == job_id
    WorkerProcess.objects.using(database).update(expires_at=timezone.now() - DAY)
    runner(database).start(["chore:reclaim"])
    wait_until(lambda: queue.find(job_id).room is Room.READY)


class Watched(Round):
    """A round in which time passes while it waits. It has begun at 0, and is far away then."""

    def __init__(self, *queues):
        super().__init__("default", {queue: Vigil(queue.lease, 0.0) for queue in queues}, 60.0, threading.Event())
        self.now = 0.0

    def goes_on(self, pause=0.0):
        self.now += pause
        return self.now < 1_000.0


def watched(monkeypatch, leases, is_away=()):
    """A round for stores with these leases, and what they were asked: (number, moment) of each reclaim."""
    queues, reclaims = [MemoryQueue(lease=lease) for lease in leases], []
    round = Watched(*queues)
    monkeypatch.setattr(housekeeping, "clock", lambda: round.now)

    def asks(worker):
        raise OperationalError("away")

    for number, queue in enumerate(queues):
        monkeypatch.setattr(queue, "reclaim", lambda number=number: reclaims.append((number, round.now)) or 1)
        if number in is_away:
            monkeypatch.setattr(queue, "cancellations", asks)
    return round, reclaims


def test_who_was_out_of_touch_hears_the_living_before_it_takes_back_what_they_hold(monkeypatch):
    round, reclaims = watched(monkeypatch, [30.0, 3.0])
    assert housekeeping.reclaim(round) == "2 taken back from workers that died"
    assert reclaims == [(0, 0.0), (1, 0.0)]  # who has just begun takes at once what was left before
    round.now = 100.0
    housekeeping.reclaim(round)
    (_, first), (_, second) = reclaims[2:]
    assert 103.0 <= first <= 104.0  # of the short lease: a rhythm of a second, and a pause of two
    assert 112.0 <= second <= 113.0
    round.now += 10.0  # its next tick
    housekeeping.reclaim(round)
    assert [moment - round.now for number, moment in reclaims[4:] if number == 0] == [pytest.approx(0.0, abs=3.5)]


def test_a_store_that_is_away_is_not_waited_for_and_keeps_nobody_from_reclaiming(monkeypatch):
    round, reclaims = watched(monkeypatch, [30.0, 30.0], is_away=[0])
    round.now = 100.0
    with pytest.raises(OperationalError, match="away"):
        housekeeping.reclaim(round)
    assert [number for number, _ in reclaims] == [1]
    assert round.now < 114.0


def test_a_round_that_ends_before_all_were_heard_takes_nothing_back(monkeypatch):
    round, reclaims = watched(monkeypatch, [30.0])
    round.now = 990.0
    assert housekeeping.reclaim(round) is None
    assert reclaims == []


@pytest.mark.redis
def test_without_a_worker_what_a_transaction_left_behind_gets_to_redis(runner, settings, monkeypatch):
    settings.TASKS = two_stores()
    fast = empty_fast()
    monkeypatch.setattr(outbox, "RELAY_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(outbox.Outbox, "deliver_committed", lambda self, ids: None)  # it dies right after the commit
    with transaction.atomic():
        [job_id] = fast.push(JobPayload.create(ADD, (1, 2)))
    assert fast._find(job_id) is None
    runner().start(["chore:relay"])
    wait_until(lambda: fast._find(job_id) is not None)


def test_there_is_no_relay_where_nothing_is_relayed(runner):
    runner()
    assert not RecurringJob.objects.filter(name="chore:relay").exists()


def aged(days):
    return timezone.now() - timedelta(days=days)


@everywhere
def test_history_is_deleted_by_age_and_dead_letters_are_not(database, runner, monkeypatch, settings):
    """P9: the dead letters never trim themselves unless told to."""
    monkeypatch.setattr(housekeeping, "BATCH", 2)
    monkeypatch.setattr(housekeeping, "BREATH", 0.0)
    history, letters = JobHistory.objects.using(database), DeadLetterJob.objects.using(database)
    for days in (91, 92, 93, 94, 95):
        write_history(database, finished_at=aged(days))
    young, old = write_history(database, finished_at=aged(89)), write_letter(database, failed_at=aged(4_000))
    one = runner(database)

    one.start(["chore:prune"])

    wait_until(lambda: history.count() == 1 and not one._running)
    assert history.get() == young
    assert letters.filter(pk=old.pk).exists()
    settings.JOBQUEUE = {"KEEP_DEAD_LETTERS": timedelta(days=3_000), "KEEP_HISTORY": None}
    one.start(["chore:prune"])
    wait_until(lambda: not letters.filter(pk=old.pk).exists())


def test_workers_long_gone_are_deleted(runner):
    values = {"name": "w", "host": "h", "pid": 1, "started_at": aged(3), "heartbeat_at": aged(2)}
    gone = WorkerProcess.objects.create(id="0" * 31 + "1", state="dead", expires_at=aged(2), **values)
    runner().start(["chore:sweep"])
    wait_until(lambda: not WorkerProcess.objects.filter(pk=gone.pk).exists())


@everywhere
def test_a_round_that_finds_nothing_writes_nothing(database, runner, django_assert_max_num_queries):
    """A scheduler without work must cost next to nothing."""
    one = runner(database)
    with django_assert_max_num_queries(3, connection=connections[database]) as seen:
        assert one.do_row("chore:promote").error == ""
    assert [query["sql"] for query in seen.captured_queries if not query["sql"].startswith("SELECT")] == []


# chores of a project


def test_a_project_has_chores_of_its_own(own, runner, caplog):
    caplog.set_level(logging.INFO, "django_jobqueue.scheduler")

    @chore(every(minutes=10))
    def rotate(round):
        return f"rotated in {round.database} beside {len(round.queues)} store"

    name = f"{__name__}.{rotate.__qualname__}"
    one = runner()
    assert row(name).expression == "10 minutes"
    one.start([f"chore:{name}"])
    wait_until(lambda: f"The chore {name}: rotated in default beside 1 store." in caplog.text)


def test_a_name_is_taken_once_and_the_same_function_may_come_again(own):
    def first(round): ...

    def second(round): ...

    chore(every(hours=1), name="one")(first)
    chore(every(hours=2), name="one")(first)
    with pytest.raises(ValueError, match="a chore called 'one' already"):
        chore(every(hours=1), name="one")(second)


@pytest.mark.parametrize(("options", "words"), [({"name": "x" * 201}, "1 to 200"), ({"limit": 0}, "greater than zero")])
def test_a_chore_that_can_t_be_is_refused(own, options, words):
    with pytest.raises(ValueError, match=words):
        chore(every(hours=1), **options)(lambda round: None)
