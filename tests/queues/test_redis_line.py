"""How jobs lie in Redis: in one slot of a cluster, in few bytes, in lines with leftovers."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.queues.base import Move
from tests.queues.hooks import HOUR, claim, claim_one, ids, job, jobs, joined, push_and_claim, settle
from tests.queues.redis_scars import client, make_queue, queue
from tests.queues.redis_store import key

__all__ = ["client", "make_queue", "queue"]

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]


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


def test_cancelled_places_in_a_long_line_are_passed_over(queue, client):
    gone, last = jobs(2_500), job()
    queue.push(*gone, last)
    for payload in gone:
        assert queue.cancel(payload.id)
    assert queue.peek().job_id == last.id
    assert ids(claim(queue, 1)) == [last.id]
    assert queue.cancel(uuid7()) is False


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


@pytest.mark.parametrize(
    "args", ['{"args":[1],"kwargs":{}}', '{"args":[],"kwargs":{"a":1}}', '{"args":["ü"],"kwargs":{}}']
)
@pytest.mark.parametrize(
    "values", [{}, {"unique_key": "\x02k"}, {"concurrency_key": "c"}, {"priority": -9, "timeout": 2.5}]
)
def test_p1_a_plain_job_is_read_as_any_other(queue, args, values):
    queue.push(job(**values | {"unique_key": None}))
    mine = job(args=args, **values)
    queue.push(mine)
    worker = joined(queue)
    claimed = claim(queue, 2, worker)[-1]
    assert claimed == queue.leases(worker)[-1], "which have their traits inside, as no plain one has"
    assert (claimed.job_id, claimed.args, claimed.timeout) == (mine.id, args, mine.timeout)


def test_p9_arguments_that_are_no_text_are_garbage_and_stop_nothing(queue, client):
    first, broken = jobs(2)
    queue.push(first)
    queue.push(broken)
    record = client.hget(key("jobs"), broken.id.bytes)
    client.hset(key("jobs"), broken.id.bytes, record[:22] + b"\xff\xfe")
    assert [(one.job_id, bool(one.task)) for one in claim(queue, 2)] == [(first.id, True), (broken.id, False)]
