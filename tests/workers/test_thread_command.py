"""`queue_work --threads` and `--concurrency` in processes of their own."""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.crash import tasks
from tests.crash.fixtures import on_most
from tests.crash.processes import finish, terminate
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@on_most
@pytest.mark.parametrize("option", ["--threads", "--concurrency"])
def test_the_command_runs_jobs_at_once_in_one_process(open_stage, option):
    stage = open_stage()
    gate = stage.directory / "gate"
    for n in range(3):
        stage.push(tasks.gated, f"sync{n}", str(gate))
        stage.push(tasks.agated, f"async{n}", str(gate))
    worker = stage.worker("--drain", option, "6")
    stage.wait_for("start", count=6)
    assert len({line.pid for line in stage.lines("start")}) == 1
    gate.touch()
    code, out, err = finish(worker)
    assert code == 0, err
    assert "6 completed" in out
    assert stage.leases() == 0


@on_most
@pytest.mark.parametrize("seed", range(3))
def test_a_signal_at_any_moment_leaves_no_lease_and_burns_no_attempt(open_stage, seed):
    stage = open_stage()
    chance = random.Random(seed)
    stage.push_many(tasks.work, 300)
    worker = stage.worker("--threads", "4")
    stage.wait_for("end", count=1)
    moment = time.monotonic() + chance.uniform(0, 0.3)
    wait_until(lambda: time.monotonic() >= moment)
    code, _, err = terminate(worker)
    assert code == 0, err
    assert stage.leases() == 0
    assert not stage.attempts_burnt()
    assert stage.live() + stage.outcomes()["completed"] == 300
    assert len(stage.names("end")) == len(set(stage.names("end"))) == stage.outcomes()["completed"]


@on_most
def test_the_second_signal_gives_back_what_runs_in_threads(open_stage):
    stage = open_stage()
    for n in range(3):
        stage.push(tasks.gated, f"sync{n}", str(stage.directory / "never"))
        stage.push(tasks.agated, f"async{n}", str(stage.directory / "never"))
    worker = stage.worker("--concurrency", "6")
    stage.wait_for("start", count=6)
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: stage.workers("stopping"), "a heartbeat that says it")
    code, _, err = terminate(worker, signal.SIGINT)
    assert code == 0, err
    assert stage.leases() == 0
    assert not stage.attempts_burnt()
    assert not stage.outcomes()
