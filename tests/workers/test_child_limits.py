"""`--max-jobs-per-child`, `--max-memory-per-child`, `--max-lifetime`: a fresh child takes the place of an old one."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.crash import tasks
from tests.crash.fixtures import POSTGRES, REDIS, SQLITE
from tests.crash.processes import terminate
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
on_most = pytest.mark.parametrize("alias", [SQLITE, POSTGRES, REDIS])


def ends_well(stage, parent):
    code, _, err = terminate(parent)
    assert code == 0, err
    assert "again in" not in err  # nobody has died
    assert stage.workers("running", "stopping", "dead") == 0
    assert stage.leases() == 0
    assert not stage.attempts_burnt()


@on_most
def test_a_child_runs_so_many_jobs(crew):
    stage, parent = crew("--max-jobs-per-child", "3", processes=1)
    stage.push_many(tasks.work, 10)
    wait_until(stage.is_settled)
    ends_well(stage, parent)
    assert sorted(Counter(line.pid for line in stage.lines("end")).values()) == [1, 3, 3, 3]
    assert stage.outcomes() == {"completed": 10}


@on_most
def test_a_child_that_holds_too_much_memory_is_replaced_after_its_job(crew):
    stage, parent = crew("--max-memory-per-child", "400M", processes=1)
    stage.push(tasks.work, "modest")
    stage.push(tasks.work, "content")
    stage.push(tasks.hoard, "greedy", 400)
    first, same, greedy = stage.wait_for("end", count=3)
    wait_until(lambda: stage.workers("stopped") == 1, "it has signed off")
    stage.push(tasks.work, "next")
    fresh = stage.wait_for("end", "next")[0]
    ends_well(stage, parent)
    assert first.pid == same.pid == greedy.pid != fresh.pid
    assert stage.outcomes() == {"completed": 4}


@on_most
def test_a_child_lives_so_long_and_is_never_interrupted(crew):
    stage, parent = crew("--max-lifetime", "1s", "--grace", "0.1", processes=1)
    gate = stage.directory / "gate"
    stage.push(tasks.gated, "slow", str(gate))
    stage.wait_for("start", "slow")
    wait_until(lambda: stage.workers("stopping") == 1, "its time is up")
    gate.touch()
    wait_until(lambda: stage.workers("stopped") >= 2, "and the next one's", seconds=120)
    ends_well(stage, parent)
    assert stage.outcomes() == {"completed": 1}
    assert stage.names("start") == ["slow"]
