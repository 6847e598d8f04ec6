"""What a scheduler does itself: that it is done, and that nothing of it can hold up a tick."""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connections, transaction
from django.utils import timezone

from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.schedule import every
from django_jobqueue.lifecycle.vigil import Vigil
from django_jobqueue.models import DeadLetterJob, Job, JobHistory, RecurringJob, WorkerProcess
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import Room, WorkerIdentity
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.queues.redis import outbox
from django_jobqueue.scheduling import chores, housekeeping
from django_jobqueue.scheduling.chore_runner import ChoreRunner
from django_jobqueue.scheduling.chores import Chore, Round, chore
from django_jobqueue.scheduling.running import scheduler_thread
from django_jobqueue.scheduling.service import SchedulerService
from tests.lifecycle.letters import ADD, write_history, write_letter
from tests.scheduling.conftest import only_built_in
from tests.stores import NOBODY_LISTENS, empty_fast, two_stores
from tests.testapp.tasks import noop
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)


def on(alias):
    return pytest.param(alias, marks=pytest.mark.django_db(transaction=True, databases=["default", alias]))


everywhere = pytest.mark.parametrize("database", ["default", on("postgres")])


@pytest.fixture
def own(monkeypatch):
    """The chores of a test, in place of all others."""
    monkeypatch.setattr(chores, "_registered", {})

    def add(name, work, limit=60.0, schedule=None):
        chores.add(Chore(name, schedule or every(hours=1), work, limit))

    return SimpleNamespace(add=add)


@pytest.fixture
def gate():
    """What a chore waits for that hangs. To be asked for after the runner, which waits for its chores at the end."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture(autouse=True)
def _plain(settings, monkeypatch):
    only_built_in(monkeypatch)
    settings.TASKS = {alias: one for alias, one in settings.TASKS.items() if one["BACKEND"].endswith("DatabaseBackend")}


@pytest.fixture
def runner():
    made = []

    def make(database="default"):
        made.append(ChoreRunner(database))
        made[-1].sync()
        return made[-1]

    yield make
    for one in made:
        one.stop()
        wait_until(lambda one=one: not one._running)


def row(name, database="default"):
    return RecurringJob.objects.using(database).get(name=f"chore:{name}")


# -- rows ----------------------------------------------------------------------------------------------------------


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


# -- what they do ----------------------------------------------------------------------------------------------------


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


# -- what goes wrong -------------------------------------------------------------------------------------------------


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


@everywhere
def test_a_round_that_finds_nothing_writes_nothing(database, runner, django_assert_max_num_queries):
    """A scheduler without work must cost next to nothing."""
    one = runner(database)
    with django_assert_max_num_queries(3, connection=connections[database]) as seen:
        assert one.do_row("chore:promote").error == ""
    assert [query["sql"] for query in seen.captured_queries if not query["sql"].startswith("SELECT")] == []


# -- chores of a project ---------------------------------------------------------------------------------------------


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


# -- beside schedules ------------------------------------------------------------------------------------------------


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
