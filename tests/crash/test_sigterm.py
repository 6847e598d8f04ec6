"""SIGTERM at random moments: nothing is stuck, no attempt is spent, nothing runs twice, and the worker is gone in time.

A few moments in CI; 300 on every store with JOBQUEUE_CRASH_POINTS=all.
"""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.crash import tasks
from tests.crash.cases import ALL, on_stores
from tests.crash.processes import finish
from tests.waiting import wait_until

GRACE = 1.0 if ALL else 2.0
"""Of jobs that nap for a tenth of a second none must be interrupted, however busy the machine is with other tests."""
LATEST = 2.5
"""Seconds after the start: the first of them are Python's and Django's."""
LATE = 1.0 if ALL else 20.0
"""Seconds after the grace: one is promised, where nothing else runs."""
MOMENTS = 150 if ALL else 6


def push_some(stage, rng, name):
    for n in range(30):
        stage.push(tasks.nap, f"{name}.{n}", rng.choice([0, 1, 5, 20, 100]))
    stage.push(tasks.flaky, f"{name}.flaky")


def stop_at(worker, seconds):
    """Exit code, and how long it took."""
    moment = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > moment or worker.poll() is not None)
    told = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    code, _, err = finish(worker)
    assert code == 0 or (code == -signal.SIGTERM and not err), err  # it was not a worker yet
    return code, time.monotonic() - told


@on_stores
@pytest.mark.parametrize("processes", ["0", "2"])
def test_sigterm_at_any_moment(open_stage, alias, processes):
    stage, rng = open_stage(lease=30.0), random.Random(processes)
    codes, longest, gate = [], 0.0, stage.directory / "gate"
    stage.push(tasks.gated, "long", str(gate), priority=-5)  # longer than the grace, when the others are done
    for n in range(MOMENTS):
        push_some(stage, rng, f"round{n}")
        before = len(stage.lines("start"))
        worker = stage.worker("--processes", processes, conf={"SHUTDOWN_GRACE": GRACE})
        if n % 2:  # at work; else while it starts, and on a quick machine later
            stage.wait_for("start", count=before + 1)
        code, took = stop_at(worker, rng.uniform(0.0, LATEST if n % 2 == 0 else 0.5))
        codes.append(code)
        longest = max(longest, took)
        assert stage.leases() == 0, f"stuck after moment {n}"
        assert not stage.attempts_burnt(), f"an attempt was spent at moment {n}"
        assert stage.workers("running", "stopping") == 0
    print(f"{stage.alias}, {processes} children: {MOMENTS} times, gone after {longest:.2f} s at most, grace {GRACE} s")
    assert longest <= GRACE + LATE
    assert 0 in codes, "none of them came to a worker"
    assert stage.lines("start"), "none of them came to a job"

    gate.touch()
    worker = stage.worker()
    wait_until(stage.is_settled, "the rest is done", 120)
    worker.send_signal(signal.SIGTERM)
    assert finish(worker)[0] == 0
    starts = stage.names("start")
    assert {name: starts.count(name) for name in set(starts) if not name.endswith(("flaky", "long"))} == {
        f"round{n}.{k}": 1 for n in range(MOMENTS) for k in range(30)
    }
    assert stage.outcomes() == {"completed": 31 * MOMENTS + 1, "retrying": MOMENTS}
