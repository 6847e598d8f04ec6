"""PostgreSQL: the plan of the claim, its cost, the wake-up call, deadlocks. And time zones, on every database."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from datetime import timezone as fixed_zone

import psycopg
import pytest
from django.db import DatabaseError, connections, transaction
from django.test import override_settings

from django_jobqueue import models
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.queues.base import Move, Room, Settlement
from django_jobqueue.queues.orm import OrmQueue, notify, postgresql
from tests.queues.hooks import (
    FAR_AHEAD,
    HOUR,
    LONG_AGO,
    NO_CALL,
    claim,
    claim_one,
    ids,
    job,
    jobs,
    joined,
    push_and_claim,
    settle,
    together,
)

pytestmark = pytest.mark.django_db(transaction=True, databases=["postgres"])


@pytest.fixture
def queue():
    queue = OrmQueue("postgres", database="postgres")
    yield queue
    queue.close()


def run(sql, params=()):
    with connections["postgres"].cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall() if cursor.description else []


def fill_line(count, queues=1):
    """Places in the line and their jobs, without the cost of a push."""
    ready, jobs_table = models.JobPriority._meta.db_table, models.Job._meta.db_table
    run(
        f"INSERT INTO {ready} (job_id, queue, priority, seq, attempt, lease_no, crashes) "
        f"SELECT gen_random_uuid(), 'q' || n %% %s, n %% 3, n, 0, 0, 0 FROM generate_series(1, %s) n",
        [queues, count],
    )
    run(
        f"INSERT INTO {jobs_table} (id, queue, task, args, priority, max_attempts, concurrency_key, times_retried, "
        f"created_at) SELECT job_id, queue, 't', '', priority, 1, '', 0, now() FROM {ready}"
    )


def plan(sql, params):
    return "\n".join(row[0] for row in run(f"EXPLAIN {sql}", params))


def plan_of_claim(limit=100):
    worker = uuid7()
    return plan(postgresql._CLAIM, ["q0", worker, limit, worker])


# -- the plan ----------------------------------------------------------------------------------------------------------

ANALYZED = pytest.mark.parametrize("analyzed", [False, True], ids=["never-analyzed", "analyzed"])


def line_of_claim(limit=100):
    """The part of the plan that reads the line."""
    found = plan_of_claim(limit)
    return found[found.index("CTE line") : found.index("CTE gone")]


@ANALYZED
@pytest.mark.parametrize("rows", [0, 1, 1_000, 20_000])
def test_the_claim_reads_the_line_in_order_and_stops(rows, analyzed):
    fill_line(rows)
    if analyzed:
        run("ANALYZE")
    line = line_of_claim()
    if rows < 2 and analyzed:  # one page, known to be empty: nothing is cheaper than to look at it
        assert "rows=1 " in line
        return
    assert "jobqueue_ready_line" in line
    assert "Sort" not in line


@ANALYZED
@pytest.mark.parametrize("queues", [2, 50])
def test_the_claim_reads_the_line_in_order_among_many_queues(queues, analyzed):
    fill_line(20_000, queues=queues)
    if analyzed:
        run("ANALYZE")
    line = line_of_claim(20)
    assert "jobqueue_ready_line" in line
    assert "Sort" not in line


def test_the_claim_keeps_its_plan_while_the_statistics_are_of_an_empty_line():
    run("ANALYZE")
    fill_line(20_000)
    line = line_of_claim()
    assert "jobqueue_ready_line" in line
    assert "Sort" not in line


@ANALYZED
def test_a_claim_of_many_reads_their_rows_and_not_all_that_wait(analyzed):
    """Scar: from some hundred jobs on a join with the line and one with the jobs read both tables from end to end."""
    fill_line(20_000)
    if analyzed:
        run("ANALYZE")
    found = plan_of_claim(500)
    for table in (models.JobPriority, models.Job):
        assert f"Seq Scan on {table._meta.db_table}" not in found


@ANALYZED
def test_a_look_from_a_place_begins_there(analyzed):
    """Scar: without an order it began where the table does, at 100,000 dead tuples: nearly every row would do."""
    fill_line(20_000)
    if analyzed:
        run("ANALYZE")
    for sql in postgresql._ANY_FROM:
        assert "jobqueue_ready_line" in plan(sql, ["q0", 0, 10])


@pytest.mark.parametrize("rows", [1_000, 20_000])
def test_promotion_reads_what_is_due_and_no_more(queue, rows):
    """Scar: clock_timestamp() can't be an index condition, and every poll read all that was delayed."""
    queue.push(*jobs(rows, delay=HOUR))
    run("ANALYZE")  # as autovacuum does after 5,000 rows; without, PostgreSQL guesses that a third of them is due
    found = plan(postgresql._PROMOTE, [])
    due = found[found.index("CTE due") : found.index("CTE gone")]
    assert "jobqueue_delayed_due" in due
    assert "(due_at <=" in due[due.index("Index Cond") :]


NESTED = "hashjoin mergejoin hashagg sort material memoize indexscan bitmapscan indexonlyscan"
"""What is left is a nested loop with the subquery inside."""


@pytest.mark.parametrize(
    "off", ["hashjoin", "mergejoin", "nestloop", "material", "bitmapscan", "indexscan", "sort", NESTED]
)
def test_p6_a_claim_never_passes_its_limit_whatever_the_planner_does(queue, off):
    """Scar: PostgreSQL bug 15715, a LIMIT in a subquery that is run again for each row of a nested loop."""
    run("ANALYZE")  # of an empty line: the statistics are as wrong as can be
    fill_line(50)
    worker = joined(queue)
    for one in off.split():
        run(f"SET enable_{one} = off")
    try:
        sizes = [len(claim(queue, limit, worker, ["q0"])) for limit in (1, 1, 2, 7)]
    finally:
        connections["postgres"].close()
    assert sizes == [1, 1, 2, 7]
    assert queue.stats("q0")[0][1:5] == (39, 0, 11, 0)


# -- what it costs -----------------------------------------------------------------------------------------------------


def test_idle_polling_burns_no_transaction_ids(queue):
    worker = joined(queue)
    queue.push(job(delay=HOUR))

    with transaction.atomic(using="postgres"):  # ours alone: the other tests of this server burn ids all the time
        assert claim(queue, 10, worker) == []
        assert claim(queue, 10, worker, ["a", "b"]) == []
        assert claim(queue, 10, worker, ()) == []
        assert queue.reclaim() == 0
        assert run("SELECT pg_current_xact_id_if_assigned()")[0][0] is None


@pytest.mark.parametrize("moves", [[Move.COMPLETED] * 60, [Move.COMPLETED, Move.RETRY] * 30], ids=["all", "half"])
def test_a_batch_costs_as_many_statements_as_a_single_job(queue, moves):
    worker = joined(queue)
    counts = []
    for size in (2, 60):
        queue.push(*jobs(size))
        mine = claim(queue, size, worker)
        batch = [Settlement(one, move, delay=HOUR) for one, move in zip(mine, moves, strict=False)]
        seen = []
        original = psycopg.Cursor.execute
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(psycopg.Cursor, "execute", lambda *a, **k: (seen.append(a[1]), original(*a, **k))[1])  # noqa: B023
            queue.exchange(batch, ["default"], 60, worker)
        counts.append(len(seen))
    assert counts[0] == counts[1] > 1


# -- the wake-up call --------------------------------------------------------------------------------------------------


def waiter(queue, queues, answers):
    def run_it():
        queue.wait(queues, 0.01)  # LISTEN from here on
        listening.set()
        started = time.monotonic()
        answers.append((queue.wait(queues, 20), time.monotonic() - started))

    listening = threading.Event()
    thread = threading.Thread(target=lambda: together(run_it))
    thread.start()
    assert listening.wait(20)
    return thread


PUSHES = {
    "known": lambda queue: queue.push(job()),
    "fresh": lambda queue: queue.push(job(), fresh=True),
    "alike": lambda queue: queue.push_alike(job(), [NO_CALL] * 2),
}


@pytest.mark.parametrize("push", PUSHES.values(), ids=PUSHES)
@pytest.mark.parametrize("queues", [["default", "other"], []], ids=["named", "all"])
def test_p10_a_push_wakes_a_waiter_at_once(queue, queues, push):
    answers = []
    thread = waiter(queue, queues, answers)
    time.sleep(0.1)
    push(queue)
    thread.join(30)
    ((woken, seconds),) = answers
    assert woken
    assert 0.05 < seconds < 5


def test_p10_a_push_in_a_transaction_wakes_at_its_commit(queue):
    answers = []
    thread = waiter(queue, ["default"], answers)
    with transaction.atomic(using="postgres"):
        queue.push(job())
        time.sleep(0.15)
        assert answers == []
    thread.join(30)
    assert answers[0][0]
    assert answers[0][1] > 0.1


@pytest.mark.parametrize("how", ["released", "run now", "left", "reclaimed"])
def test_p10_a_job_that_comes_back_to_the_line_wakes_a_waiter(queue, how, monkeypatch):
    monkeypatch.setattr(notify, "QUIET_SECONDS", 0)
    worker, answers = joined(queue), []
    mine = push_and_claim(queue, worker)
    later = job(delay=HOUR)
    queue.push(later)
    if how == "reclaimed":
        models.WorkerProcess.objects.using("postgres").update(expires_at=LONG_AGO)
    thread = waiter(queue, ["default"], answers)
    acts = {
        "released": lambda: settle(queue, mine, Move.RELEASED),
        "run now": lambda: queue.run_now(later.id),
        "left": lambda: queue.leave(worker),
        "reclaimed": queue.reclaim,
    }
    time.sleep(0.05)
    acts[how]()
    thread.join(30)
    assert answers[0][0]
    assert answers[0][1] < 5


def test_pushes_in_quick_succession_notify_once(queue, monkeypatch):
    monkeypatch.setattr(notify, "QUIET_SECONDS", 30)
    monkeypatch.setattr(notify, "_last", {})
    told = []
    original = postgresql.PostgreSQLDialect._to_announce

    def note(self, queues):
        told.extend(original(self, queues))
        return []

    monkeypatch.setattr(postgresql.PostgreSQLDialect, "_to_announce", note)
    for _ in range(5):
        queue.push(job(), job(queue="other"))
    assert sorted(told) == ["default", "other"]


def test_p10_without_notify_waiting_is_polling(queue):
    with override_settings(JOBQUEUE={"NOTIFY": False}):
        queue.wait(["default"], 0.01)
        queue.push(job())
        assert queue._waiting()._listener is None
        started = time.monotonic()
        assert queue.wait(["default"], 20)
        assert time.monotonic() - started < 5
        assert len(claim(queue)) == 1


def test_p10_a_lost_listen_connection_is_polling_until_it_is_back(queue):
    queue.wait(["default"], 0.01)
    waiting = queue._waiting()
    pid = waiting._listener._connection.info.backend_pid
    run("SELECT pg_terminate_backend(%s)", [pid])
    started = time.monotonic()
    assert queue.wait(["default"], 20)
    assert time.monotonic() - started < 5
    waiting._retry_at = 0.0
    queue.push(job())
    queue.wait(["default"], 0.01)
    assert waiting._listener is not None


# -- deadlocks ---------------------------------------------------------------------------------------------------------


def test_a_real_deadlock_is_tried_again(queue):
    """Two transactions lock two leases crosswise; the victim, whoever it is, settles in the end."""
    worker = joined(queue)
    queue.push(*jobs(2))
    first, second = claim(queue, 2, worker)
    locked = threading.Event()
    locks = models.JobLock._meta.db_table

    def cross():
        with transaction.atomic(using="postgres"):
            run("SET LOCAL deadlock_timeout = '10s'")  # so that the other one notices first
            run(f"SELECT 1 FROM {locks} WHERE id = %s FOR UPDATE", [second.job_id])
            locked.set()
            wait_until_blocked()
            run(f"SELECT 1 FROM {locks} WHERE id = %s FOR UPDATE", [first.job_id])

    def settle_both():
        locked.wait(20)
        run("SET deadlock_timeout = '50ms'")
        return queue.settle([Settlement(one, Move.RETRY, delay=HOUR) for one in (first, second)])

    _, answers = together(cross, settle_both)
    assert answers == [True, True]


BLOCKED = """SELECT count(*) FROM pg_locks w WHERE NOT granted AND EXISTS (SELECT 1 FROM pg_locks o
WHERE o.pid = w.pid AND o.database = (SELECT oid FROM pg_database WHERE datname = current_database()))"""


def wait_until_blocked():
    deadline = time.monotonic() + 20
    while not run(BLOCKED)[0][0]:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_deadlock_in_the_callers_transaction_is_the_callers(queue, monkeypatch):
    mine = push_and_claim(queue)

    def die(self, settlements):
        raise DatabaseError("deadlock")

    monkeypatch.setattr(postgresql.PostgreSQLDialect, "settle_completed", die)
    with pytest.raises(DatabaseError, match="deadlock"), transaction.atomic(using="postgres"):
        settle(queue, mine)


# -- time zones --------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(request):
    """A queue whose connection has other time settings."""
    alias, use_tz, zone = request.param
    connection = connections[alias]
    with override_settings(USE_TZ=use_tz, TIME_ZONE="America/New_York"):
        set_zone(connection, zone)
        yield OrmQueue(alias, database=alias)
    set_zone(connection, None)


def set_zone(connection, zone):
    connection.close()
    connection.settings_dict["TIME_ZONE"] = zone
    for cached in ("timezone", "timezone_name"):
        connection.__dict__.pop(cached, None)


def zones(alias):
    mark = [getattr(pytest.mark, alias)] if alias != "default" else []
    marks = [pytest.mark.django_db(transaction=True, databases=[alias]), *mark]
    for use_tz, zone, label in [
        (True, "Asia/Kolkata", "connection in Kolkata"),
        (True, "America/St_Johns", "connection in St John's"),
        (False, None, "USE_TZ off in New York"),
    ]:
        yield pytest.param((alias, use_tz, zone), marks=marks, id=f"{alias}, {label}")


@pytest.mark.parametrize("elsewhere", [*zones("default"), *zones("postgres"), *zones("mariadb")], indirect=True)
def test_p6_the_time_zone_of_a_connection_changes_nothing(elsewhere):
    queue, before = elsewhere, datetime.now(UTC) - timedelta(seconds=5)
    local = FAR_AHEAD.astimezone(fixed_zone(timedelta(hours=9, minutes=45)))
    past, soon, far = job(run_after=before), job(delay=HOUR), job(run_after=local)
    queue.push(past, soon, far)
    worker = joined(queue)
    mine = claim_one(queue, worker)
    assert mine.job_id == past.id
    assert before < mine.created_at <= mine.claimed_at < before + timedelta(minutes=1)
    assert mine.created_at.utcoffset() == timedelta(0)
    assert mine.wait_ms < 60_000
    assert queue.find(far.id).due_at == FAR_AHEAD
    assert abs(queue.find(soon.id).due_at - before - timedelta(seconds=HOUR)) < timedelta(minutes=1)
    assert settle(queue, mine, Move.RETRY, delay=HOUR)
    assert claim(queue, 10, worker) == []
    assert queue.run_now(past.id)
    again = claim_one(queue, worker)
    assert again.created_at == mine.created_at
    assert queue.heartbeat(worker)
    assert queue.reclaim() == 0
    assert 3_000 < queue._dialect().seconds_to_next_due() < 3_700
    assert settle(queue, again, start_ms=5, run_ms=10)
    assert queue.find(past.id) is None
    assert queue.find(soon.id).room is Room.DELAYED
    assert ids(claim(queue, 10, worker)) == []
