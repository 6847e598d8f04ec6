"""A Redis that is killed, frozen, cut off or emptied of its scripts while workers and producers use it.

Each test has a server of its own. Its append-only file is synced before each answer, so SIGKILL takes nothing that was
answered. Synced every second, the file is written behind the answers while a sync is under way: then the last answers
may be forgotten, jobs run again that had run, and one that was pushed in that moment is lost.
"""

from __future__ import annotations

import signal
import threading
import time

import pytest

from django_jobqueue.exceptions import EnqueueError
from django_jobqueue.jobs.payload import JobPayload
from tests.crash import tasks
from tests.crash.fixtures import on_redis
from tests.crash.processes import terminate
from tests.servers import DurableRedis
from tests.waiting import wait_until

BACK_WITHIN = 15.0
"""P10: the store is back, and workers work again so many seconds later, without a restart. Five are promised; a machine
that runs a test suite is slower."""


@pytest.fixture
def server():
    with DurableRedis() as one:
        yield one


def settled(stage, seconds=60.0):
    wait_until(stage.is_settled, "all settled", seconds)


def starts_of(stage):
    """How often each job was started."""
    names = stage.names("start")
    return {name: names.count(name) for name in names}


def kill_it_again_and_again(stage, server, total):
    """While a worker works on so many jobs: it goes on each time, soon. Returns the worker."""
    worker = stage.worker(conf={"PREFETCH_MAX": 4})
    for reached in (total // 7, total // 3, total * 2 // 3):
        stage.wait_for("end", count=reached)
        server.kill()
        done = len(stage.names("end"))
        server.start()
        back = time.monotonic()
        stage.wait_for("end", count=min(done + 100, total))
        assert time.monotonic() - back < BACK_WITHIN
    settled(stage)
    return worker


# killed


@on_redis
def test_a_worker_goes_on_when_its_server_was_killed_and_is_back(open_stage, server):
    stage = open_stage(lease=30.0, server=server.url)
    stage.push_many(tasks.work, 1_500)
    code, _, err = terminate(kill_it_again_and_again(stage, server, 1_500))

    assert code == 0
    assert "did not answer" in err
    assert len(stage.names("start")) == 1_500, "no lease had ended, so nothing ran twice"
    assert stage.outcomes() == {"completed": 1_500}
    assert stage.leases() == 0


@on_redis
def test_with_a_file_synced_every_second_no_old_job_is_lost(open_stage):
    with DurableRedis("everysec") as server:
        stage = open_stage(lease=30.0, server=server.url)
        stage.push_many(tasks.work, 1_500)
        synced = time.monotonic() + 2
        wait_until(lambda: time.monotonic() > synced)
        assert terminate(kill_it_again_and_again(stage, server, 1_500))[0] == 0

        assert len(starts_of(stage)) == len(set(stage.names("end"))) == 1_500
        assert stage.leases() == 0


@on_redis
def test_a_job_whose_lease_ended_in_an_outage_runs_again_and_none_is_lost(open_stage, server):
    """Its worker is frozen, or it could be the first to be heard afterwards, and keep it."""
    lease = 2.0
    stage = open_stage(lease=lease, server=server.url)
    gate = stage.directory / "gate"
    slow = stage.push(tasks.gated, "slow", str(gate))
    ids = stage.push_many(tasks.work, 200)
    crew = {worker.pid: worker for worker in (stage.worker(), stage.worker())}
    wait_until(lambda: stage.workers("running") == 2, "both are there")
    [first] = stage.wait_for("start", "slow")
    stage.freeze(first.pid)
    server.kill()
    over = time.monotonic() + 2 * lease
    wait_until(lambda: time.monotonic() > over)
    server.start()
    [_, second] = stage.wait_for("start", "slow", count=2)
    crew[first.pid].send_signal(signal.SIGCONT)
    gate.touch()
    settled(stage)
    assert [terminate(worker)[0] for worker in crew.values()] == [0, 0]

    assert second.time - first.time > lease
    assert stage.outcomes(slow) == {"lost": 1, "completed": 1}
    assert all(stage.outcomes(job_id)["completed"] == 1 for job_id in ids)
    assert all(count <= 1 + stage.outcomes()["lost"] for count in starts_of(stage).values())
    assert stage.leases() == 0


@on_redis
def test_what_a_producer_was_told_is_stored_whoever_dies(open_stage, server):
    """It repeats a push that failed with the same id, as it should; a job whose answer was lost is not stored twice."""
    stage = open_stage(server=server.url)
    worker = stage.worker()
    wait_until(lambda: stage.workers("running"), "it is there")
    acked, refused, stop = [], [], threading.Event()

    def produce():
        while not stop.is_set():
            payload = JobPayload.create(tasks.work, (f"job{len(acked)}",))
            while True:
                try:
                    stage.queue.deliver([payload])
                    break
                except EnqueueError:
                    refused.append(payload.id)
                    stop.wait(0.01)
            acked.append(payload.id)

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        for _ in range(4):
            goal = len(acked) + 150
            wait_until(lambda goal=goal: len(acked) >= goal, "the producer goes on")
            told = len(refused)
            server.kill()
            wait_until(lambda told=told: len(refused) > told, "the producer notices")
            server.start()
    finally:
        stop.set()
        producer.join()
    settled(stage)
    code, _, err = terminate(worker)

    assert code == 0, err
    assert refused
    assert stage.outcomes() == {"completed": len(acked)}
    assert starts_of(stage) == {f"job{n}": 1 for n in range(len(acked))}


@on_redis
def test_what_ended_before_the_outage_is_recorded_after_it(open_stage, server):
    """Killed between the settlement and the rows: they are made of what the file kept."""
    stage = open_stage(lease=2.0, server=server.url)
    head = stage.push(tasks.doomed, "doomed")
    dead = stage.worker(conf={"PREFETCH_MAX": 1}, JOBQUEUE_FAILPOINT="record.before:kill")
    wait_until(lambda: dead.poll() is not None, "its end")
    server.kill()
    server.start()
    assert not stage.dead()
    worker = stage.worker()
    wait_until(stage.dead, "the dead letter")
    settled(stage)
    assert terminate(worker)[0] == 0
    assert list(stage.dead()) == [head]
    assert stage.outcomes() == {"failed": 1}


# silent


@on_redis
def test_a_worker_outlives_a_server_that_answers_nobody(open_stage, server):
    """Frozen for longer than a socket waits. Connections are open all the time."""
    stage = open_stage(lease=30.0, server=server.url)
    stage.push_many(tasks.work, 1_000)
    worker = stage.worker(conf={"PREFETCH_MAX": 4})
    stage.wait_for("end", count=100)
    server.freeze()
    thaw = time.monotonic() + 7
    wait_until(lambda: time.monotonic() > thaw)
    done = len(stage.names("end"))
    server.thaw()
    back = time.monotonic()
    stage.wait_for("end", count=min(done + 100, 1_000))
    assert time.monotonic() - back < BACK_WITHIN
    settled(stage)
    code, _, err = terminate(worker)
    assert code == 0
    assert "did not answer" in err
    assert stage.outcomes() == {"completed": 1_000}
    assert len(stage.names("start")) == 1_000


# cut off


def cut(stage):
    """End every connection but this one; how many there were."""
    mine = stage.client.client_id()
    others = [one["id"] for one in stage.client.client_list() if int(one["id"]) != mine]
    return sum(stage.client.client_kill_filter(_id=one) for one in others)


def listeners(stage):
    [(_, count)] = stage.client.pubsub_numsub(stage.key("wake"))
    return count


@on_redis
def test_a_worker_outlives_its_connections(open_stage, server):
    """All of them are ended, again and again, while it works."""
    stage = open_stage(server=server.url)
    worker, ids, ended = stage.worker(conf={"PREFETCH_MAX": 4}), [], 0
    for n in range(8):
        ids += stage.push_many(tasks.work, 100, f"part{n}.")
        stage.wait_for("end", count=100 * n + 50)
        ended += cut(stage)
    settled(stage)
    assert worker.poll() is None
    code, _, err = terminate(worker)
    assert code == 0, err
    assert ended >= 2
    assert stage.outcomes() == {"completed": len(ids)}
    assert len(stage.names("end")) == 800, "none ran twice: no lease had to end"


@on_redis
def test_an_idle_worker_listens_again_after_its_connection_was_cut(open_stage, server):
    stage = open_stage(server=server.url)
    stage.push(tasks.work, "one")
    worker = stage.worker(conf={"POLL_INTERVAL": 60})
    stage.wait_for("end", "one")
    settled(stage)
    wait_until(lambda: listeners(stage), "it listens")
    assert cut(stage) > 0
    wait_until(lambda: listeners(stage), "it listens again", BACK_WITHIN)
    pushed = time.monotonic()
    stage.push(tasks.work, "two")
    stage.wait_for("end", "two")
    assert time.monotonic() - pushed < BACK_WITHIN
    assert terminate(worker)[0] == 0


@on_redis
def test_an_idle_worker_goes_on_after_its_server_was_killed(open_stage, server):
    stage = open_stage(server=server.url)
    stage.push(tasks.work, "one")
    worker = stage.worker(conf={"POLL_INTERVAL": 60})
    stage.wait_for("end", "one")
    settled(stage)
    server.kill()
    server.start()
    back = time.monotonic()
    stage.push(tasks.work, "two")
    stage.wait_for("end", "two")
    assert time.monotonic() - back < BACK_WITHIN
    settled(stage)
    assert terminate(worker)[0] == 0


@on_redis
def test_a_server_that_forgets_its_scripts_is_told_them_again(open_stage, server):
    stage = open_stage(server=server.url)
    stage.push_many(tasks.work, 600)
    worker = stage.worker(conf={"PREFETCH_MAX": 4})
    flushed = 0
    while len(stage.names("end")) < 600:
        stage.client.script_flush()
        flushed += 1
    settled(stage)
    code, _, err = terminate(worker)
    assert (code, err) == (0, "")
    assert flushed > 3
    assert stage.outcomes() == {"completed": 600}
    assert len(stage.names("start")) == 600
