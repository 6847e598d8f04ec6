"""A machine that was suspended for longer than a lease: who wakes up first must not take the others for dead.

With JOBQUEUE_CRASH_POINTS=all on every store.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from django_jobqueue.workers.background import Rhythm
from django_jobqueue.workers.vigil import Vigil, clock
from tests import proc
from tests.crash import tasks
from tests.crash.cases import ALL
from tests.crash.fixtures import MOST, POSTGRES
from tests.crash.processes import terminate
from tests.waiting import wait_until

LEASE = 2.5

LATE = """
import time
from django.core.checks import register
from tests.crash.settings import *

@register
def beats_come_after_all_else(app_configs, **kwargs):
    from django_jobqueue.workers import heart, membership

    def later(beat):
        def beat_later(*args):
            time.sleep(0.4)
            return beat(*args)
        return beat_later

    heart.Beats._beat = later(heart.Beats._beat)
    membership.Membership.beat = later(membership.Membership.beat)
    return []
"""
"""On a busy machine, or when the network is slow to come back."""


def suspend(*groups, seconds):
    """All processes of these commands at once, as when the machine is suspended."""
    for group in groups:
        os.killpg(group.pid, signal.SIGSTOP)
    pids = [pid for group in groups for pid in (group.pid, *proc.children(group.pid))]
    wait_until(lambda: {proc.state(pid) for pid in pids} == {"T"}, "all stand still")
    over = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > over)
    for group in groups:
        os.killpg(group.pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("alias", MOST if ALL else [POSTGRES])
def test_a_host_that_was_suspended_does_not_take_its_own_jobs_back(crew, alias):
    stage, parent = crew(lease=LEASE, settings=LATE)
    gate = stage.directory / "gate"
    for n in range(2):
        stage.push(tasks.gated, f"slow{n}", str(gate))
    stage.wait_for("start", count=2)
    wait_until(lambda: stage.workers("running") == 2, "both are known")
    suspend(parent, seconds=1.5 * LEASE)
    over = time.monotonic() + Vigil(LEASE, 0.0).hearing + 1.0  # by then it reclaims again
    wait_until(lambda: time.monotonic() > over)
    gate.touch()
    wait_until(stage.is_settled)
    code, _, err = terminate(parent)
    assert code == 0, err
    assert stage.outcomes() == {"completed": 2}, err


# the vigil


def vigil_at(answers, lease=30.0):
    vigil = Vigil(lease, 0.0)
    for moment in answers:
        vigil.answered(moment)
    return vigil


def test_who_was_in_touch_all_the_time_may_tell_at_once_and_so_may_who_has_just_begun():
    assert Vigil(30.0, 100.0).may_tell(100.0)
    assert vigil_at(range(0, 100, 19)).may_tell(100.0)


def test_who_was_out_of_touch_lets_each_one_living_be_heard_first():
    vigil = vigil_at([5.0, 65.0])
    assert not vigil.may_tell(65.0)
    assert not vigil.may_tell(76.9)  # a rhythm of 10 s, and a pause of 2 s
    assert vigil.may_tell(77.0)


def test_who_has_not_been_answered_since_it_woke_up_may_not_tell():
    assert not vigil_at([5.0]).may_tell(65.0)


def test_a_second_suspension_begins_the_wait_anew():
    vigil = vigil_at([5.0, 65.0, 70.0, 130.0])
    assert not vigil.may_tell(135.0)
    vigil.answered(140.0)
    assert vigil.may_tell(142.0)


@pytest.mark.parametrize("lease", [1.0, 2.5, 30.0, 60.0, 3_600.0])
def test_who_is_out_of_touch_for_a_gap_finds_nobody_silent_who_lives(lease):
    vigil, rhythm = Vigil(lease, 0.0), Rhythm(lease).pause
    assert lease - rhythm >= vigil.gap > rhythm
    assert vigil.hearing > rhythm


def test_its_clock_goes_on():
    before = clock()
    assert before <= clock() <= before + 60.0
