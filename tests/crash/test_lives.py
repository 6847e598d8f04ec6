"""Workers that live, freeze, die and share: real processes on real stores, with a lease of a second or two."""

from __future__ import annotations

import signal
import time

import pytest
from django.db import connections

from django_jobqueue.models import JobHistory, WorkerProcess
from tests.crash import tasks
from tests.crash.fixtures import on_all, on_most, on_postgres, on_sqlite
from tests.crash.processes import finish, terminate
from tests.waiting import wait_until


def ended(stage, *names):
    return wait_until(lambda: set(names) <= set(stage.names("end")), f"the end of {names}")


# sharing


@on_all
def test_workers_that_share_a_queue_run_no_job_twice(open_stage):
    """P: at most one lease per job."""
    stage = open_stage()
    gate = stage.directory / "gate"
    crew = [stage.worker() for _ in range(2)]
    for n in range(2):  # both are here before the race begins
        stage.push(tasks.gated, f"gate{n}", str(gate))
    stage.wait_for("start", count=2)
    stage.push_many(tasks.work, 400)
    gate.touch()
    wait_until(stage.is_settled, "all done", 60)
    assert [terminate(worker)[0] for worker in crew] == [0, 0]
    starts = stage.lines("start")
    assert len(starts) == len({line.name for line in starts}) == 402
    assert len({line.pid for line in starts}) == 2
    assert stage.outcomes() == {"completed": 402}


@on_most
def test_a_slow_job_keeps_nothing_from_the_other_worker(open_stage):
    """Prefetch steals nothing: what was fetched with a slow job is run by somebody else while it runs."""
    stage = open_stage()
    gate = stage.directory / "gate"
    stage.push_many(tasks.work, 5, "quick")
    stage.push(tasks.gated, "slow", str(gate))
    behind = stage.push_many(tasks.work, 6, "behind")
    first = stage.worker()
    stage.wait_for("start", "slow")
    wait_until(lambda: stage.outcomes()["completed"] == 5, "what was finished before the slow one is stored")
    second = stage.worker()
    ended(stage, *(f"behind{n}" for n in range(6)))
    assert "slow" not in stage.names("end")
    gate.touch()
    wait_until(stage.is_settled)
    assert [terminate(worker)[0] for worker in (first, second)] == [0, 0]
    assert all(stage.outcomes(job_id) == {"completed": 1} for job_id in behind)
    assert len(stage.lines("start")) == 12


# living


@on_most
def test_heartbeats_keep_the_lease_of_a_job_that_runs_longer_than_it(open_stage):
    stage = open_stage(lease=2.0)
    gate = stage.directory / "gate"
    job_id = stage.push(tasks.gated, "slow", str(gate))
    crew = [stage.worker(), stage.worker()]
    began = stage.wait_for("start", "slow")[0].time
    wait_until(lambda: time.monotonic() > began + 4.5)
    gate.touch()
    wait_until(stage.is_settled)
    assert [terminate(worker)[0] for worker in crew] == [0, 0]
    assert stage.names("start") == ["slow"]
    assert stage.outcomes(job_id) == {"completed": 1}


@on_all
def test_a_frozen_worker_loses_its_jobs_and_comes_back(open_stage):
    """P3: after its lease another runs its jobs, its late decisions are refused, and it works on as a new worker."""
    stage = open_stage(lease=2.5)
    gate = stage.directory / "gate"
    stage.push_many(tasks.work, 5, "quick")
    slow = stage.push(tasks.gated_runs, "slow", str(gate))
    behind = stage.push_many(tasks.work, 4, "behind")
    frozen = stage.worker(conf={"PREFETCH_SECONDS": 3_600, "FLUSH_SECONDS": 3_600})  # it keeps what it fetched
    stage.wait_for("start", "slow")
    stage.freeze(frozen.pid)
    healthy = stage.worker()
    stage.wait_for("start", "slow", count=2)

    gate.with_suffix(".1").touch()
    frozen.send_signal(signal.SIGCONT)  # it ends its run while the other one is in the middle of its own
    stage.push(tasks.work, "after")
    [after] = stage.wait_for("end", "after")
    assert after.pid == frozen.pid, "it works on"
    assert stage.queue.find(slow).lease_no == 2, "its late decision has not ended the second run"
    gate.with_suffix(".2").touch()
    wait_until(stage.is_settled)
    assert terminate(healthy)[0] == 0
    code, _, err = terminate(frozen)

    assert code == 0
    assert "starts anew" in err
    assert stage.names("end").count("slow") == 2
    runs = JobHistory.objects.using(stage.database).filter(job_id=slow).order_by("lease_no")
    assert list(runs.values_list("lease_no", "attempt", "outcome")) == [(1, 1, "lost"), (2, 1, "completed")]
    pids = dict(WorkerProcess.objects.using(stage.database).values_list("id", "pid"))
    assert [pids[run.worker_id] for run in runs] == [frozen.pid, healthy.pid]
    assert all(stage.outcomes(job_id) == {"lost": 1, "completed": 1} for job_id in behind)
    assert len(stage.lines("start")) == 12, "what it had fetched and not started, it did not start any more"
    assert stage.leases() == 0
    assert stage.workers("running", "stopping") == 0


@on_most
@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_job_that_kills_its_workers_is_a_dead_letter_after_three(open_stage, how):
    """P: the crash budget. Those who were fetched with it pay once and live."""
    stage = open_stage(lease=1.0)
    innocent = stage.push_many(tasks.work, 5, "before")
    killer = stage.push(tasks.killer, "killer", how)
    innocent += stage.push_many(tasks.work, 5, "after")
    deaths = 0
    while not stage.is_settled():
        worker = stage.worker()
        wait_until(lambda worker=worker: worker.poll() is not None or stage.is_settled(), "a death or the end")
        deaths += worker.poll() is not None
    code, _, _ = terminate(worker)

    assert code == 0
    assert deaths == 3
    assert stage.names("start").count("killer") == 3
    letter = stage.dead()[killer]
    assert (letter.reason, letter.crashes, letter.attempt) == ("worker_lost", 3, 1)
    assert list(stage.dead()) == [killer]
    for job_id in innocent:
        assert stage.outcomes(job_id)["completed"] == 1
        assert stage.outcomes(job_id)["lost"] <= 1
    assert stage.leases() == 0


# a store that goes away


@on_postgres
def test_a_worker_outlives_its_connections(open_stage):
    """All of its backends are terminated, again and again, while it works."""
    stage = open_stage(lease=5.0)
    worker, ids, cut = stage.worker(conf={"PREFETCH_MAX": 4}), [], 0
    for n in range(8):
        ids += stage.push_many(tasks.work, 100, f"part{n}.")
        stage.wait_for("end", count=100 * n + 50)
        cut += terminate_backends(stage.alias)
    wait_until(stage.is_settled)
    assert worker.poll() is None
    code, _, err = terminate(worker)
    assert code == 0, err
    assert cut >= 3
    assert "did not answer" in err
    assert stage.leases() == 0
    assert all(stage.outcomes(job_id)["completed"] == 1 for job_id in ids)
    assert stage.outcomes()["lost"] == 0
    assert len(stage.names("end")) == 800, "none ran twice: no lease had to end"


def terminate_backends(alias):
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return cursor.fetchone()[0]


@on_postgres
def test_an_idle_worker_listens_again_after_its_connection_was_cut(open_stage):
    stage = open_stage()
    stage.push(tasks.work, "one")
    worker = stage.worker()
    ended(stage, "one")
    wait_until(stage.is_settled)
    assert terminate_backends(stage.alias) > 0
    stage.push(tasks.work, "two")
    ended(stage, "two")
    assert worker.poll() is None
    assert terminate(worker)[0] == 0


# waking


def latency(stage, name, **options):
    pushed = time.monotonic()
    stage.push(tasks.work, name, **options)
    return stage.wait_for("start", name)[0].time - pushed


def idle_worker(stage, **conf):
    stage.push(tasks.work, "first")
    worker = stage.worker(conf={"POLL_INTERVAL": 60, **conf})
    ended(stage, "first")
    wait_until(stage.is_settled)
    quiet = time.monotonic() + 0.3  # longer than it stays awake after work
    wait_until(lambda: time.monotonic() > quiet)
    return worker


@on_most
def test_a_push_wakes_an_idle_worker(open_stage):
    """NOTIFY on PostgreSQL, `PRAGMA data_version` on SQLite: it would sleep for a minute otherwise."""
    stage = open_stage()
    worker = idle_worker(stage)
    latencies = [latency(stage, f"job{n}") for n in range(5)]
    assert min(latencies) < 0.3, latencies
    assert max(latencies) < 20.0, latencies
    assert terminate(worker)[0] == 0


@on_all
def test_a_delayed_job_starts_when_it_is_due(open_stage):
    stage = open_stage()
    worker = idle_worker(stage)
    waited = latency(stage, "later", delay=0.5)
    assert 0.5 <= waited < 20.0
    assert terminate(worker)[0] == 0


@on_postgres
def test_without_notify_it_polls(open_stage):
    stage = open_stage()
    worker = idle_worker(stage, NOTIFY=False)
    assert max(latency(stage, f"job{n}") for n in range(3)) < 20.0
    assert terminate(worker)[0] == 0


@on_all
def test_a_job_given_back_wakes_the_other_worker(open_stage):
    stage = open_stage(lease=30.0)
    gate = stage.directory / "gate"
    worker = idle_worker(stage)
    stage.push(tasks.gated, "busy", str(gate))
    stage.wait_for("start", "busy")
    doomed = stage.worker(conf={"SHUTDOWN_GRACE": 0.05})
    stage.push(tasks.gated, "moves", str(gate))
    stage.wait_for("start", "moves")
    gate_keeper = stage.lines("start", "moves")[0].pid
    assert gate_keeper == doomed.pid
    gate.touch()
    wait_until(stage.is_settled)
    assert terminate(worker)[0] == terminate(doomed)[0] == 0


# the command


@on_sqlite
def test_the_command_line(open_stage):
    stage = open_stage()
    stage.push_many(tasks.work, 3, "a")
    stage.push(tasks.work, "b", queue="other")

    code, out, _ = finish(stage.worker("--once", "--queues", "default"))
    assert (code, out.split(": ")[1].strip()) == (0, "1 completed")
    code, out, _ = finish(stage.worker("--drain", "--max-jobs", "1", "--queues", "other, default"))
    assert stage.names("end")[1:] == ["b"]
    code, out, _ = finish(stage.worker("--drain", "--queues", "default"))
    assert (code, out.split(": ")[1].strip()) == (0, "2 completed")
    code, out, _ = finish(stage.worker("--drain"))
    assert (code, out.split(": ")[1].strip()) == (0, "nothing to do")


@on_sqlite
def test_an_async_job_is_interrupted_like_any_other(open_stage):
    stage = open_stage()
    stage.push(tasks.agated, "slow", str(stage.directory / "never"))
    worker = stage.worker(conf={"SHUTDOWN_GRACE": 0.2})
    stage.wait_for("start", "slow")
    code, _, err = terminate(worker)
    assert code == 0, err
    assert stage.leases() == 0
