"""Quiet, resume, stop: by a signal or from anywhere, to a command with children and to one without."""

from __future__ import annotations

import os
import signal
import time

import pytest

from django_jobqueue.models import WorkerProcess
from django_jobqueue.workers import orders
from tests.crash import tasks
from tests.crash.fixtures import POSTGRES, REDIS, SQLITE
from tests.crash.processes import finish, terminate
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
on_most = pytest.mark.parametrize("alias", [SQLITE, POSTGRES, REDIS])
alone_or_not = pytest.mark.parametrize("processes", [0, 2], ids=["alone", "children"])
NEVER_SECONDS = 3.0
"""Long enough for a child to be started, if there were to be one: it takes a quarter of a second."""


def at_work(stage, count, state="running"):
    """The workers' rows, as soon as so many are in this state."""
    rows = WorkerProcess.objects.using(stage.database).filter(store=stage.queue.store, state=state)
    wait_until(lambda: rows.count() == count, f"{count} workers are {state}")
    return list(rows)


def give(stage, workers, word):
    return orders.give(stage.queue, [worker.pk for worker in workers], word)


def who_runs(stage, name, count=20):
    """Pushes jobs and lets another worker drain them: whose they were."""
    stage.push_many(tasks.work, count, name)
    rival = stage.worker("--drain")
    code, _, err = finish(rival)
    assert code == 0, err
    lines = stage.lines("end")
    return {line.pid for line in lines if line.name.startswith(name)}, rival.pid


@on_most
@alone_or_not
@pytest.mark.parametrize("how", ["signal", "order"])
def test_a_quiet_worker_finishes_its_job_takes_no_other_and_goes_on_when_told(crew, processes, how):
    stage, parent = crew(processes=processes)
    workers = at_work(stage, processes or 1)
    gate = stage.directory / "gate"
    stage.push(tasks.gated, "slow", str(gate))
    ours = stage.wait_for("start", "slow")[0].pid

    if how == "signal":
        parent.send_signal(signal.SIGUSR1)
    else:
        assert len(give(stage, workers, "quiet")) == len(workers)
    at_work(stage, len(workers), "quiet")
    gate.touch()
    stage.wait_for("end", "slow")
    pids, rival = who_runs(stage, "during")
    assert pids == {rival}
    wait_until(lambda: stage.leases() == 0, "what its job came to is stored")

    if how == "signal":
        parent.send_signal(signal.SIGUSR2)
    else:
        give(stage, workers, "run")
    at_work(stage, len(workers))
    stage.push(tasks.work, "after")
    assert stage.wait_for("end", "after")[0].pid in {ours, *(worker.pid for worker in workers)}
    code, _, err = terminate(parent)
    assert code == 0, err
    assert stage.outcomes() == {"completed": 22}


@on_most
@alone_or_not
def test_a_worker_that_was_told_to_stop_finishes_its_job_and_ends(crew, processes):
    stage, parent = crew(processes=processes)
    workers = at_work(stage, processes or 1)
    gate = stage.directory / "gate"
    stage.push(tasks.gated, "slow", str(gate))
    stage.wait_for("start", "slow")
    give(stage, workers, "stop")
    wait_until(lambda: stage.workers("stopping"), "it was told")
    gate.touch()
    code, _, err = finish(parent)
    assert code == 0, err
    assert stage.outcomes() == {"completed": 1}
    assert stage.workers("running", "quiet", "stopping", "dead") == 0


@on_most
def test_a_child_that_was_told_to_stop_is_not_replaced_and_the_other_works_on(crew):
    stage, parent = crew()
    sent_away, stays = at_work(stage, 2)
    give(stage, [sent_away], "stop")
    wait_until(lambda: stage.workers("running") == 1)
    moment = time.monotonic() + NEVER_SECONDS
    wait_until(lambda: time.monotonic() > moment)
    assert [row.pk for row in at_work(stage, 1)] == [stays.pk]
    stage.push(tasks.work, "job")
    assert stage.wait_for("end", "job")[0].pid == stays.pid
    code, _, err = terminate(parent)
    assert code == 0, err


@on_most
def test_an_operator_may_let_a_worker_go_on_that_a_signal_made_quiet(crew):
    """The last word counts, whoever said it."""
    stage, parent = crew(processes=1)
    workers = at_work(stage, 1)
    parent.send_signal(signal.SIGUSR1)
    at_work(stage, 1, "quiet")
    give(stage, workers, "run")
    at_work(stage, 1)
    stage.push(tasks.work, "job")
    stage.wait_for("end", "job")
    parent.send_signal(signal.SIGUSR1)  # said again
    at_work(stage, 1, "quiet")
    pids, rival = who_runs(stage, "later")
    assert pids == {rival}
    assert terminate(parent)[0] == 0


@on_most
def test_a_quiet_worker_stops_like_any_other(crew):
    stage, parent = crew(processes=1)
    at_work(stage, 1)
    os.killpg(parent.pid, signal.SIGUSR1)  # the whole group hears it
    at_work(stage, 1, "quiet")
    code, _, err = terminate(parent)
    assert code == 0, err
    assert stage.workers("running", "quiet", "stopping", "dead") == 0


@pytest.mark.parametrize("alias", [SQLITE])
def test_only_workers_that_are_alive_can_be_told_anything(open_stage):
    stage = open_stage()
    code, _, err = finish(stage.worker("--drain"))
    assert code == 0, err
    gone = WorkerProcess.objects.get()
    assert give(stage, [gone], "stop") == []
    with pytest.raises(ValueError, match="use run, quiet or stop"):
        give(stage, [gone], "dance")
