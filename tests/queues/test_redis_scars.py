"""What only the Redis store can be asked: its garbage, its limits, and what happens between it and the tables."""

from __future__ import annotations

import os
import threading

import pytest
from django.db import OperationalError, transaction
from redis.crc import key_slot

from django_jobqueue.exceptions import EnqueueError, JobQueueError, QueueFull
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.models import DeadLetterJob, JobHistory, WorkerProcess
from django_jobqueue.queues.base import Move, Settlement, WorkerIdentity, WorkerReport
from django_jobqueue.queues.redis import RedisQueue, packed, records
from django_jobqueue.queues.redis.connection import Connection
from django_jobqueue.queues.redis.scripts import KEYS
from django_jobqueue.workers.worker import Worker
from tests.queues.hooks import HOUR, claim, claim_one, ids, job, jobs, joined, push_and_claim, settle, wait_for
from tests.queues.redis_store import PREFIX, key, open_queue
from tests.servers import DurableRedis
from tests.servers.redis import find_redis62
from tests.testapp.tasks import noop

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def make_queue():
    made = []

    def make(**options):
        queue = open_queue("redis", **options)
        if not made:
            queue.connection.client.flushdb()
        made.append(queue)
        return queue

    yield make
    for queue in made:
        queue.close()


@pytest.fixture
def queue(make_queue):
    return make_queue()


@pytest.fixture
def client(queue):
    return queue.connection.client


def everything(client, but=()):
    """All that is on the server."""
    return {name: client.dump(name) for name in client.keys("*") if not name.decode(errors="replace").endswith(but)}


HARMLESS = ("line:default:0", "levels:default", "meta")
"""Where a push that fails may leave something that nobody will ever see: a place without a job, a number."""


# -- keys of the wrong type --------------------------------------------------------------------------------------------


def verbs(queue, worker, held, waiting):
    """A call of each verb that writes."""
    return {
        "push": lambda: queue.push(job()),
        "exchange": lambda: queue.exchange([Settlement(held, Move.COMPLETED)], ["default"], 5, worker),
        "cancel": lambda: queue.cancel(waiting),
        "reprioritize": lambda: queue.reprioritize(waiting, 9),
        "run_now": lambda: queue.run_now(waiting),
        "clear": lambda: queue.clear(),
        "join": lambda: queue.join(WorkerIdentity()),
        "heartbeat": lambda: queue.heartbeat(worker),
        "leave": lambda: queue.leave(worker),
        "reclaim": lambda: queue.reclaim(),
        "promote": lambda: queue.promote(),
    }


VERBS = list(verbs(None, None, None, None))
PUSH_TOUCHES = {"jobs", "traits", "done", "older", "counts", "meta"}
"""A push looks only at what it needs, because it is made for every single job."""


@pytest.mark.parametrize(
    ("name", "verb"), [(name, verb) for name in KEYS for verb in VERBS if verb != "push" or name in PUSH_TOUCHES]
)
def test_a_key_of_the_wrong_type_is_named_and_nothing_is_half_done(queue, client, name, verb):
    worker = joined(queue)
    held = push_and_claim(queue, worker=worker)
    waiting = job(delay=HOUR)
    queue.push(waiting, *jobs(2))
    client.delete(key(name))
    client.rpush(key(name), "of somebody else")
    but = HARMLESS if verb == "push" else ()
    before = everything(client, but)
    with pytest.raises(JobQueueError, match=name):
        verbs(queue, worker, held, waiting.id)[verb]()
    assert everything(client, but) == before


@pytest.mark.parametrize("name", sorted(set(KEYS) - PUSH_TOUCHES))
def test_a_push_does_not_touch_what_it_does_not_need(queue, client, name):
    client.rpush(key(name), "of somebody else")
    queue.push(job())
    assert client.lrange(key(name), 0, -1) == [b"of somebody else"]


@pytest.mark.parametrize(
    ("name", "payload"),
    [("delayed", {"delay": HOUR}), ("state", {"lease_no": 3}), ("unique", {"unique_key": "k"})],
)
def test_a_push_that_needs_them_looks_at_these_too(queue, client, name, payload):
    client.rpush(key(name), "of somebody else")
    before = everything(client)
    with pytest.raises(JobQueueError, match=name):
        queue.push(job(), job(**payload))
    assert everything(client) == before


@pytest.mark.parametrize("name", ["levels:default", "line:default:0", "back:default:0"])
@pytest.mark.parametrize("verb", ["exchange", "clear", "reprioritize"])
def test_a_line_of_the_wrong_type_is_named_and_nothing_is_half_done(queue, client, name, verb):
    worker = joined(queue)
    held = push_and_claim(queue, worker=worker)
    waiting = job()
    queue.push(waiting, job())
    client.delete(key(name))
    client.set(key(name), "of somebody else")
    before = everything(client)
    with pytest.raises(JobQueueError, match=name):
        verbs(queue, worker, held, waiting.id)[verb]()
    assert everything(client) == before


@pytest.mark.parametrize("name", ["levels:default", "line:default:0"])
def test_a_push_into_a_line_of_the_wrong_type_is_named_and_stores_nothing(queue, client, name):
    queue.push(job())
    client.delete(key(name))
    client.set(key(name), "of somebody else")
    before = everything(client, HARMLESS)
    for batch in ([job()], jobs(3)):
        with pytest.raises(EnqueueError, match=name):
            queue.push(*batch)
        assert everything(client, HARMLESS) == before
        assert queue.find(batch[0].id) is None


# -- garbage in the right keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", [b"", b"x", b"\xff" * 19, b"\x00" * 40, b"\xff" * 500], ids=len)
def test_p9_a_record_nobody_can_read_is_claimed_and_can_die(queue, client, garbage):
    broken, fine = job(), job()
    queue.push(broken, fine)
    place = client.hget(key("jobs"), broken.id.bytes)[8:16]
    if len(garbage) >= 16:
        garbage = garbage[:8] + place + garbage[16:]
    client.hset(key("jobs"), broken.id.bytes, garbage)
    worker = joined(queue)
    assert queue.find(broken.id) is not None
    queue.peek()
    line = wait_for(lambda: claim(queue, 5, worker))
    assert fine.id in ids(line)
    for one in line:
        assert settle(queue, one, Move.DEAD, reason="unknown_task")
    assert claim(queue, 5, worker) == []
    queue.clear()
    queue.reclaim()


@pytest.mark.parametrize("garbage", [b"", b"x", b"\xff" * 51, b"\x00" * 51, b"r" * 200], ids=len)
def test_p9_a_state_of_garbage_stops_nobody(queue, client, garbage):
    broken, fine = job(), job()
    queue.push(broken, fine)
    client.hset(key("state"), broken.id.bytes, garbage)
    assert fine.id in ids(claim(queue, 5))
    queue.find(broken.id)
    queue.cancel(broken.id)


def test_p9_members_of_garbage_in_a_line_and_among_the_delayed_stop_nobody(queue, client):
    payload = job()
    client.rpush(key("line:default:0"), b"", b"short", b"\xff" * 24, b"x" * 300)
    client.zadd(key("levels:default"), {b"0": 0, b"nonsense": 5})
    client.zadd(key("delayed"), {b"short": 1, b"\xff" * 16: 2})
    client.zadd(key("workers"), {b"short": 1})
    queue.push(payload)
    queue.reclaim()
    assert ids(claim(queue, 5)) == [payload.id]


def test_p9_an_entry_of_garbage_is_thrown_away_and_the_others_are_recorded(queue, client, monkeypatch):
    monkeypatch.setattr(TABLES, out_of_order)
    mine = push_and_claim(queue)
    assert settle(queue, mine)
    client.hset(key("unrecorded"), b"x" * 20, b"garbage")
    client.hset(key("unrecorded"), b"y", b"\xff" * 300)
    monkeypatch.undo()
    queue._unrecorded.record_left_behind(0)
    assert JobHistory.objects.get().job_id == mine.job_id
    assert client.hlen(key("unrecorded")) == 0


TABLES = "django_jobqueue.queues.redis.recorder.tables_of"
"""Where every way to the tables begins."""


def out_of_order(*_):
    raise OperationalError("the database is down")


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["{}:\n", "{other}", "x" * 10_240, "", "ü", "a:b"])
def test_a_name_no_queue_can_have_is_just_empty(queue, name):
    queue.push(job())
    assert queue.reserve([name], 5, joined(queue)) == []
    assert queue.peek(name) is None
    assert queue.stats(name) == []
    assert queue.clear(name) == 0


def test_all_keys_of_a_store_are_in_one_slot_of_a_cluster(queue, client):

    held = push_and_claim(queue)
    assert settle(queue, held, Move.RELEASED)
    queue.push(*jobs(2), job(delay=HOUR, unique_key="k"), job(queue="other", priority=50))
    claim_one(queue)
    slots = {key_slot(name) for name in client.keys("*")}
    assert len(slots) == 1
    assert slots == {key_slot(name.encode()) for name in queue._scripts.keys}


# -- the server --------------------------------------------------------------------------------------------------------


def test_p10_a_server_that_forgot_its_scripts_is_told_again(queue, client):
    queue.push(job())
    client.script_flush()
    assert claim_one(queue) is not None


@pytest.fixture(params=["redis", pytest.param("redis62", marks=pytest.mark.redis62)])
def lone_queue(request):
    """On a server of its own: the memory of one that is full is missing to the tests beside this one, too."""
    with DurableRedis("everysec", find_redis62() if request.param == "redis62" else None) as server:
        queue = RedisQueue("redis", Connection({"url": server.url}), prefix=PREFIX)
        yield queue
        queue.close()


def fill(queue):
    """Nothing more fits into the server's memory."""
    client = queue.connection.client
    client.config_set("maxmemory", client.info("memory")["used_memory"] - 100_000)


def test_p9_a_full_server_says_so_and_stores_nothing_by_half(lone_queue):
    fill(lone_queue)
    with pytest.raises(QueueFull, match="memory"):
        lone_queue.push(*jobs(50))
    assert lone_queue.size() == 0
    assert lone_queue.connection.client.keys("*") == []


def test_p10_a_full_server_is_emptied_by_its_workers(lone_queue):
    lone_queue.push(*jobs(5))
    worker = joined(lone_queue)
    fill(lone_queue)
    line = claim(lone_queue, 5, worker)
    assert len(line) == 5
    assert all(lone_queue.settle([Settlement(one, Move.COMPLETED) for one in line]))
    assert lone_queue.heartbeat(worker)


def test_p10_a_full_server_keeps_its_workers_alive(lone_queue):
    lone_queue.push(*jobs(6))
    worker = joined(lone_queue)
    fill(lone_queue)
    line = claim(lone_queue, 4, worker)
    assert lone_queue.heartbeat(worker)
    joined(lone_queue)
    moves = [Move.COMPLETED, Move.RETRY, Move.RELEASED, Move.DEAD]
    settled = [Settlement(one, move, delay=HOUR) for one, move in zip(line, moves, strict=True)]
    assert all(lone_queue.settle(settled))
    lone_queue.leave(worker)
    lone_queue.reclaim()
    with pytest.raises(QueueFull):
        lone_queue.push(job())


def test_p10_flushall_under_load_costs_the_jobs_and_not_the_worker(queue, client):
    worker = Worker(queue, ["default"])
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        queue.push(*jobs(200))
        assert wait_for(lambda: worker.counters.by_move[Move.DEAD] > 0)
        client.flushdb()
        payload = JobPayload.create(noop)
        queue.push(payload)
        assert wait_for(lambda: JobHistory.objects.filter(job_id=payload.id).exists())
    finally:
        worker.stop()
        thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("protocol", [2, 3])
def test_both_protocols_say_the_same(queue, client, protocol):
    url = os.environ["JOBQUEUE_TEST_REDIS_URL"]
    number = client.connection_pool.connection_kwargs.get("db", 0)
    other = RedisQueue("redis", Connection({"url": f"{url}?db={number}&protocol={protocol}"}), prefix=PREFIX)
    try:
        assert other.connection.client.connection_pool.connection_kwargs["protocol"] == protocol
        mine, delayed = job(), job(delay=HOUR)
        assert other.push(mine, delayed) == [mine.id, delayed.id]
        assert other.peek().job_id == mine.id
        assert other.find(delayed.id).reason == "scheduled"
        held = claim_one(other)
        assert [row[1:4] for row in other.stats()] == [(0, 1, 1)]
        assert settle(other, held, Move.DEAD, reason="exhausted")
        assert DeadLetterJob.objects.get().id == mine.id
        assert other.clear() == 1
    finally:
        other.close()


def test_a_push_is_cut_by_size_too(queue, monkeypatch):
    large = [job(args='{"args":["' + "x" * 200_000 + '"],"kwargs":{}}') for _ in range(3)]
    run, calls = queue._scripts.run, []
    monkeypatch.setattr(queue._scripts, "run", lambda name, *rest: calls.append(name) or run(name, *rest))
    monkeypatch.setattr("django_jobqueue.queues.redis.records.COMPRESS_FROM", 10**9)
    monkeypatch.setattr("django_jobqueue.queues.redis.queue.PUSH_BYTES", 450_000)
    assert queue.push(*large) == [one.id for one in large]
    assert calls == ["push", "push"]
    assert ids(claim(queue, 3)) == [one.id for one in large]


def test_long_arguments_are_stored_shorter_and_come_back_whole(queue, client):
    long = job(args='{"args":["' + "all work and no play " * 2_000 + '"],"kwargs":{}}')
    queue.push(long)
    assert client.hstrlen(key("jobs"), long.id.bytes) < len(long.args) / 20
    assert claim_one(queue).args == long.args


def test_p9_a_compressed_bomb_is_not_unpacked(queue, client):
    bomb = job(args='{"args":["' + "x" * 100_000 + '"],"kwargs":{}}')
    queue.push(bomb)
    record = client.hget(key("jobs"), bomb.id.bytes)
    size = records._HEAD.size + 1
    assert int.from_bytes(record[size : size + 4], "big") == 100_002  # without what is around the arguments
    claims_less = record[:size] + (50).to_bytes(4, "big") + record[size + 4 :]
    client.hset(key("jobs"), bomb.id.bytes, claims_less)
    mine = claim_one(queue)
    assert (mine.job_id, mine.task, mine.args) == (bomb.id, "", "")


# -- what jobs have in common ------------------------------------------------------------------------------------------


def test_what_jobs_have_in_common_is_stored_once(queue, client):
    alike, other = jobs(3, task="tests.tasks.common", max_attempts=7), job(task="tests.tasks.other")
    queue.push(*alike, other)
    assert client.hlen(key("traits")) == 4  # a number and the way back, for two kinds
    assert all(b"common" not in client.hget(key("jobs"), one.id.bytes) for one in alike)
    assert [(one.task, one.max_attempts) for one in claim(queue, 4)] == [("tests.tasks.common", 7)] * 3 + [
        (other.task, 3)
    ]


def test_p1_a_job_waits_in_few_bytes(queue, client):
    mine = job(args='{"args":["' + "x" * 150 + '"],"kwargs":{}}')
    queue.push(mine)
    assert client.hstrlen(key("jobs"), mine.id.bytes) == 22 + 152


@pytest.mark.parametrize("count", [1, 2])
def test_p1_when_there_are_no_more_numbers_a_job_is_stored_whole(queue, client, count):
    client.hset(key("traits"), mapping={b"%d" % n: b"x" for n in range(20_000)})
    mine = jobs(count, task="tests.tasks.late", unique_key=None)
    queue.push(*mine)
    assert client.hlen(key("traits")) == 20_000
    assert [(one.job_id, one.task) for one in claim(queue, 2)] == [(one.id, "tests.tasks.late") for one in mine]


def test_p9_a_job_whose_traits_are_gone_can_die(queue, client):
    lost = job(queue="mail")
    queue.push(lost)
    client.delete(key("traits"))
    assert queue.find(lost.id) is not None
    (mine,) = claim(queue, queues=["mail"])
    assert (mine.job_id, mine.task) == (lost.id, "")
    assert settle(queue, mine, Move.DEAD, reason="unknown_task")
    queue.push(job(task="tests.tasks.next"))  # numbers begin anew
    assert claim_one(queue).task == "tests.tasks.next"


# -- the record --------------------------------------------------------------------------------------------------------


RECORDED = {
    "all": {"completed", "cancelled", "retrying", "snoozed", "failed"},
    "failures": {"retrying", "failed"},
    "none": {"failed"},
}


@pytest.mark.parametrize("record", RECORDED)
def test_what_is_recorded(make_queue, record):
    queue = make_queue(record=record)
    for move in (Move.COMPLETED, Move.CANCELLED, Move.RETRY, Move.SNOOZE, Move.DEAD, Move.RELEASED):
        assert settle(queue, push_and_claim(queue), move, delay=HOUR, reason="exhausted")
    rows = set(JobHistory.objects.filter(store="redis").values_list("outcome", flat=True))
    assert rows == RECORDED[record] if record != "none" else rows <= RECORDED["none"]
    assert DeadLetterJob.objects.get().store == "redis"


@pytest.mark.parametrize("record", ["all", "failures", "none"])
def test_the_result_of_a_finished_job_is_known_in_every_mode(make_queue, record):
    queue = make_queue(record=record)
    mine = push_and_claim(queue)
    assert queue.settle([Settlement(mine, Move.COMPLETED, result="[1, 2]", run_ms=7)]) == [True]
    kept = queue.finished(mine.job_id)
    if record == "all":
        assert kept is None
        assert JobHistory.objects.get().result == "[1, 2]"
    else:
        assert (kept.result, kept.run_ms, kept.outcome) == ("[1, 2]", 7, "completed")
        assert queue.connection.client.ttl(key("done")) > 0


def test_p11_what_a_database_outage_kept_from_the_tables_is_written_later(queue, client, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(TABLES, out_of_order)
        done, dead = push_and_claim(queue), push_and_claim(queue)
        assert settle(queue, done)
        assert settle(queue, dead, Move.DEAD, reason="exhausted")
    assert queue.finished(done.job_id).outcome == "completed"
    assert client.hlen(key("unrecorded")) == 2
    monkeypatch.setattr("django_jobqueue.queues.redis.queue.LEFT_BEHIND_SECONDS", 0)
    queue.reclaim()
    assert client.hlen(key("unrecorded")) == 0
    assert set(JobHistory.objects.values_list("outcome", flat=True)) == {"completed", "failed"}
    assert DeadLetterJob.objects.get().id == dead.job_id


def test_p11_writing_the_record_twice_changes_nothing(queue, client, monkeypatch):
    mine = push_and_claim(queue)
    monkeypatch.setattr(queue._scripts, "delete_fields", lambda *_: None)
    assert settle(queue, mine, Move.DEAD, reason="exhausted")
    assert client.hlen(key("unrecorded")) == 1
    before = list(JobHistory.objects.values()), list(DeadLetterJob.objects.values())
    monkeypatch.undo()
    queue._unrecorded.record_left_behind(0)
    assert (list(JobHistory.objects.values()), list(DeadLetterJob.objects.values())) == before
    assert client.hlen(key("unrecorded")) == 0


def test_p3_a_settlement_whose_lease_was_lost_leaves_no_dead_letter_of_a_living_job(queue, client):
    worker = joined(queue)
    mine = push_and_claim(queue, worker=worker)
    client.zadd(key("workers"), {worker.bytes: 1})
    assert queue.reclaim() == 1
    assert not settle(queue, mine, Move.DEAD, reason="exhausted")
    assert DeadLetterJob.objects.count() == 0
    assert queue.find(mine.job_id) is not None


def test_p1_a_finished_job_pushed_again_does_not_run_again(make_queue):
    for record in ("all", "none"):
        queue = make_queue(record=record)
        payload = job()
        queue.push(payload)
        assert settle(queue, claim_one(queue))
        assert queue.push(payload) == [payload.id]
        assert claim(queue, 5) == []


def test_p1_finished_jobs_are_forgotten_by_number_and_by_age(queue, client):
    finished = [push_and_claim(queue) for _ in range(3)]
    assert settle(queue, finished[0])
    client.hset(key("meta"), "done_since", 1)
    assert settle(queue, finished[1])
    assert [client.hexists(key("older"), one.job_id.bytes) for one in finished[:2]] == [True, False]
    client.hset(key("meta"), "done_since", 1)
    assert settle(queue, finished[2])
    assert [client.hexists(key("older"), one.job_id.bytes) for one in finished] == [False, True, False]


@pytest.mark.parametrize("verb", ["cancel", "clear"])
def test_p11_what_others_have_ended_is_not_undone_with_the_callers_transaction(queue, monkeypatch, verb):
    with monkeypatch.context() as patch:
        patch.setattr(TABLES, out_of_order)
        dead = push_and_claim(queue)
        assert settle(queue, dead, Move.DEAD, reason="exhausted")
    waiting = job()
    queue.push(waiting)
    with transaction.atomic():
        assert queue.cancel(waiting.id) if verb == "cancel" else queue.clear()
        transaction.set_rollback(True)
    queue._unrecorded.record_left_behind(0)
    assert DeadLetterJob.objects.get().id == dead.job_id


def in_both(queue):
    """A job whose delivery was not noted: it is in Redis, and its row is in the outbox."""
    payload = job()
    with transaction.atomic():
        queue.push(payload)
        queue.deliver([payload])
        transaction.get_connection().run_on_commit.clear()
    assert queue._find(payload.id)
    assert queue._outbox.find(payload.id)
    return payload.id


def test_p11_a_job_on_its_way_is_counted(queue):
    queue.push(job(), job(queue="other"))
    with transaction.atomic():
        queue.push(job(), job(delay=HOUR))
        assert [row[:4] for row in queue.stats()] == [("default", 1, 2, 0), ("other", 1, 0, 0)]
        assert [row[:4] for row in queue.stats("default")] == [("default", 1, 2, 0)]
        assert queue.size() == 4
    assert [row[:4] for row in queue.stats("default")] == [("default", 2, 1, 0)]


def test_p8_a_job_that_has_arrived_is_cancelled_where_it_is(queue):
    job_id = in_both(queue)
    assert queue.cancel(job_id)
    assert claim(queue, 5) == []
    queue._outbox.relay(10, older_than=0)
    assert claim(queue, 5) == []


def test_p8_a_job_that_has_arrived_and_runs_is_not_cancelled_on_its_way(queue):
    job_id = in_both(queue)
    mine = claim_one(queue)
    assert not queue.cancel(job_id)
    assert JobHistory.objects.count() == 0
    assert settle(queue, mine, Move.DEAD, reason="exhausted")
    assert not queue.cancel(job_id)
    assert DeadLetterJob.objects.get().id == job_id


def test_p3_a_lease_number_given_out_twice_is_still_one_lease(queue, client):
    """After a failover Redis may have forgotten a second: numbers begin again, moments don't."""
    payload = job()
    queue.push(payload)
    old = claim_one(queue)
    client.flushdb()
    queue.push(payload)
    new = claim_one(queue)
    assert (old.job_id, old.lease_no) == (new.job_id, new.lease_no)
    assert not settle(queue, old)
    assert settle(queue, new)


def test_p9_a_death_under_a_lease_number_that_was_used_before_has_its_letter(queue, client):
    payload = job()
    queue.push(payload)
    assert settle(queue, claim_one(queue))
    client.flushdb()
    queue.push(payload)
    assert settle(queue, claim_one(queue), Move.DEAD, reason="exhausted")
    assert DeadLetterJob.objects.get().id == payload.id
    assert JobHistory.objects.get().outcome == "completed"


def test_p2_an_exchange_that_a_client_repeats_claims_and_settles_once(queue, monkeypatch):
    """redis-py may call again by itself when an answer is late."""
    worker = joined(queue)
    queue.push(*jobs(9))
    done, again = claim(queue, 2, worker)
    run, answers = queue._scripts.run, []

    def twice(name, *rest):
        answers.extend(run(name, *rest) for _ in range(2))
        return answers[-1]

    monkeypatch.setattr(queue._scripts, "run", twice)
    batch = [Settlement(done, Move.COMPLETED), Settlement(again, Move.RETRY, delay=HOUR)]
    exchange = queue.exchange(batch, ["default"], 4, worker)
    monkeypatch.undo()
    assert exchange.settled == [True, True]
    first, second = ([*answer[:1], *sorted(answer[2:])] for answer in answers)  # but for when the next is due
    assert first == second
    assert [row[1:4] for row in queue.stats()] == [(3, 1, 4)]
    assert len(exchange.reservations) == 4


def test_p8_a_cancel_that_a_client_repeats_is_true_and_one_that_comes_later_is_false(queue, client, monkeypatch):
    payloads = jobs(300)
    queue.push(*payloads)
    run = queue._scripts.run
    monkeypatch.setattr(queue._scripts, "run", lambda *call: [run(*call) for _ in range(2)][1])
    assert all(queue.cancel(one.id) for one in payloads[:299])
    assert not any(queue.cancel(one.id) for one in payloads[:299])
    assert [row.ready for row in queue.stats()] == [1]
    assert client.hstrlen(key("meta"), "cancels") == 2_048
    assert JobHistory.objects.filter(outcome="cancelled").count() == 299


@pytest.mark.parametrize("move", [Move.RETRY, Move.RELEASED, Move.DEAD])
def test_p8_an_exchange_that_a_client_repeats_records_what_was_asked_to_stop_as_cancelled(queue, monkeypatch, move):
    """The second answer must say so too: the first one, which nobody heard, has ended the job."""
    worker = joined(queue)
    queue.push(*jobs(2))
    stopped, other = claim(queue, 2, worker)
    queue.request_cancel(stopped.job_id)
    run = queue._scripts.run
    monkeypatch.setattr(queue._scripts, "run", lambda *call: [run(*call) for _ in range(2)][1])
    batch = [Settlement(one, move, delay=HOUR) for one in (other, stopped)]
    assert queue.exchange(batch, (), 0, worker).settled == [True, True]
    monkeypatch.undo()
    assert list(JobHistory.objects.filter(job_id=stopped.job_id).values_list("outcome", flat=True)) == ["cancelled"]
    assert DeadLetterJob.objects.count() == (move is Move.DEAD)
    assert queue.find(stopped.job_id) is None


@pytest.mark.parametrize("record", ["all", "failures", "none"])
@pytest.mark.parametrize("way", ["settle", "leave", "declare_dead"])
def test_p8_what_was_asked_to_stop_is_over_at_every_level_of_record(make_queue, record, way):
    queue = make_queue(record=record)
    worker = joined(queue)
    mine = push_and_claim(queue, worker)
    queue.request_cancel(mine.job_id)
    if way == "settle":
        assert settle(queue, mine, Move.RETRY, delay=HOUR)
    else:
        getattr(queue, way)(worker)
    assert queue.find(mine.job_id) is None
    rows = JobHistory.objects.filter(job_id=mine.job_id).values_list("outcome", flat=True)
    assert list(rows) == (["cancelled"] if record == "all" else [])
    ended = queue.finished(mine.job_id)
    assert (None if ended is None else ended.outcome) == (None if record == "all" else "cancelled")
    queue.push(job(id=mine.job_id))
    assert queue.size() == 0


def test_what_is_over_is_swept_out_of_the_set_of_the_asked(queue, client):
    worker = joined(queue)
    queue.push(*jobs(3))
    line = claim(queue, 3, worker)
    for one in line:
        queue.request_cancel(one.job_id)
    assert all(queue.settle([Settlement(line[0], Move.COMPLETED), Settlement(line[1], Move.RELEASED)]))
    assert client.scard(key("asked")) == 3
    assert queue.cancellations(worker) == {line[2].job_id: False}
    assert client.smembers(key("asked")) == {line[2].job_id.bytes}


# -- workers -----------------------------------------------------------------------------------------------------------


def test_a_worker_is_seen_in_the_table_from_beginning_to_end(queue, client):
    me = WorkerIdentity(name="w", queues=("a",))
    queue.join(me)
    queue.report(me.id, WorkerReport(completed=3))
    row = WorkerProcess.objects.get()
    assert (row.store, row.name, row.queues) == ("redis", "w", "a")
    queue.report(me.id, WorkerReport(completed=4))
    assert WorkerProcess.objects.get().completed == 4
    queue.leave(me.id)
    assert WorkerProcess.objects.get().state == WorkerProcess.State.STOPPED


def test_a_worker_whose_database_is_down_works_all_the_same(queue, monkeypatch):
    monkeypatch.setattr(queue._register, "_create", out_of_order)
    worker = joined(queue)
    queue.push(job())
    assert claim_one(queue, worker) is not None
    queue.report(worker, WorkerReport())
    monkeypatch.undo()
    queue.report(worker, WorkerReport())
    assert WorkerProcess.objects.get().id == worker


def test_p2_a_heartbeat_does_not_wait_for_the_database(queue, monkeypatch):
    """What operators see of a worker may hang on a locked row; its lease must not."""
    worker, seen = Worker(queue, ["default"]), []

    def hang(*_):
        seen.append("report")
        released.wait(10)

    released = threading.Event()
    monkeypatch.setattr(queue, "lease", 1.0)
    monkeypatch.setattr(queue._register, "report", hang)
    beats = []
    beat = queue.heartbeat
    monkeypatch.setattr(queue, "heartbeat", lambda *rest: beats.append(1) or beat(*rest))
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        assert wait_for(lambda: len(beats) > 3)
        assert seen == ["report"]
    finally:
        worker.stop()
        released.set()
        thread.join(10)
    assert not thread.is_alive()


def test_enqueue_on_a_server_that_is_gone_says_so(make_queue):

    nowhere = RedisQueue("redis", Connection({"url": "unix:///nowhere/redis.sock"}))
    with pytest.raises(EnqueueError, match="did not store"):
        nowhere.push(job())


def test_cancelled_places_in_a_long_line_are_passed_over(queue, client):
    gone, last = jobs(2_500), job()
    queue.push(*gone, last)
    for payload in gone:
        assert queue.cancel(payload.id)
    assert queue.peek().job_id == last.id
    assert ids(claim(queue, 1)) == [last.id]
    assert queue.cancel(uuid7()) is False


# -- what a second look found ----------------------------------------------------------------------------------------


def test_p9_a_due_time_of_garbage_does_not_end_a_worker(queue, client):
    client.zadd(key("delayed"), {b"x" * 16: float("inf")})
    worker = Worker(queue, ["default"])
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        payload = JobPayload.create(noop)
        queue.push(payload)
        assert wait_for(lambda: JobHistory.objects.filter(job_id=payload.id).exists())
    finally:
        worker.stop()
        thread.join(10)
    assert not thread.is_alive()


def test_p9_an_entry_with_impossible_times_does_not_stop_the_others(queue, client, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(TABLES, out_of_order)
        mine = push_and_claim(queue)
        assert settle(queue, mine, run_ms=5)
    (field,) = client.hkeys(key("unrecorded"))
    entry = client.hget(key("unrecorded"), field)
    at = packed._ENTRY.size
    impossible = entry[:at] + packed._WORDS.pack(2**63, 2**63, 0, 0, 0, 0, 0, 0, 0) + entry[at + packed._WORDS.size :]
    client.hset(key("unrecorded"), uuid7().bytes + b"\x00\x00\x00\x01", impossible)
    queue._unrecorded.record_left_behind(0, 5)
    assert JobHistory.objects.get().job_id == mine.job_id
    assert client.hlen(key("unrecorded")) == 0


def test_p1_large_results_do_not_drive_out_the_ids_of_finished_jobs(make_queue, monkeypatch):
    queue = make_queue(record="none")
    first = push_and_claim(queue)
    assert settle(queue, first)
    for _ in range(70):
        large = push_and_claim(queue)
        assert queue.settle([Settlement(large, Move.COMPLETED, result='"' + "x" * 1_000_000 + '"')]) == [True]
    assert queue.push(job(id=first.job_id)) == [first.job_id]
    assert queue.find(first.job_id) is None
    assert queue.connection.client.info("memory")["used_memory"] < 120_000_000
    queue.connection.client.flushdb()


def test_p8_a_job_brought_back_from_the_dead_can_be_cancelled_on_its_way(queue):
    mine = push_and_claim(queue)
    assert settle(queue, mine, Move.DEAD, reason="exhausted")
    with queue.transaction():
        DeadLetterJob.objects.all().delete()
        queue.push(job(id=mine.job_id, lease_no=mine.lease_no))
        assert queue.cancel(mine.job_id)
    assert claim(queue, 5) == []


def test_p10_a_backlog_for_a_database_that_is_away_has_an_end(queue, client, monkeypatch):
    client.hset(key("unrecorded"), mapping={b"%020d" % n: b"x" for n in range(100_001)})
    queue.push(job())
    assert claim(queue, 5) == []
    client.delete(key("unrecorded"))
    assert len(claim(queue, 5)) == 1


def test_leftovers_before_a_job_cost_few_steps(queue, client):
    last = job()
    client.rpush(key("line:default:0"), *[uuid7().bytes + b"\x00" * 8 for _ in range(20_000)])
    client.zadd(key("levels:default"), {b"0": 0})
    queue.push(last)
    worker = joined(queue)
    client.config_resetstat()
    assert ids(claim(queue, 1, worker)) == [last.id]
    assert client.info("commandstats")["cmdstat_lpop"]["calls"] < 60


def test_surplus_taken_from_a_line_goes_back_to_its_head(queue, client):
    gone, rest = jobs(9), jobs(40)
    queue.push(*gone, *rest)
    for one in gone:
        assert queue.cancel(one.id)
    worker = joined(queue)
    seen = []
    for _ in range(40):
        seen += ids(claim(queue, 1, worker))
    assert seen == [one.id for one in rest]


def test_many_queues_are_served_in_turn(queue):
    payloads = [job(queue=f"q{n:03}") for n in range(300)]
    queue.push(*payloads)
    worker = joined(queue)
    seen = []
    for _ in range(300):
        seen += ids(queue.reserve([], 1, worker))
    assert sorted(seen) == sorted(one.id for one in payloads)


def test_a_word_said_while_a_worker_was_busy_does_not_wake_it_again(queue):
    queue.wait(["default"], 0)
    heard = queue._scripts.channel
    for _ in range(500):
        queue.connection.client.publish(heard, "default")
    assert queue.wait(["default"], 1)
    assert not queue.wait(["default"], 0.05)


def test_the_last_report_of_a_worker_that_has_left_does_not_show_it_again(queue):
    """A zombie begins anew while a thread of its still speaks for what it was."""
    early, late = joined(queue), joined(queue)
    queue.report(early, WorkerReport())
    queue.declare_dead(early)
    queue.report(early, WorkerReport(completed=1))
    assert WorkerProcess.objects.get(id=early).state == "running", "it does not know yet"
    for worker in (early, late):
        queue.leave(worker)
        queue.report(worker, WorkerReport(completed=2))
    assert set(WorkerProcess.objects.values_list("state", flat=True)) == {"stopped"}
