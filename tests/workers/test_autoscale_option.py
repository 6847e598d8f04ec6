"""`queue_work --autoscale 1,3`: real children come when jobs wait, and go when they are not needed."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from tests.crash import tasks
from tests.crash.fixtures import POSTGRES, REDIS, SQLITE
from tests.crash.processes import terminate
from tests.waiting import wait_until
from tests.workers.test_orders import at_work, give

pytestmark = pytest.mark.slow
on_most = pytest.mark.parametrize("alias", [SQLITE, POSTGRES, REDIS])

QUICK = """
from django.core.checks import register
from tests.crash.settings import *

@register
def hurries(app_configs, **kwargs):
    from django_jobqueue.workers import autoscale, scaling
    autoscale.GROW_PAUSE, autoscale.SHRINK_AFTER, autoscale.BUSY_HOST = 0.2, 2.0, 1.1
    scaling.DECIDE_SECONDS = 0.5
    return []
"""


@pytest.fixture
def scaled(crew):
    def start(bounds="1,3"):
        return crew(
            "--autoscale", bounds, processes=None, settings=QUICK, conf={"AUTOSCALE_TARGET": 0.1}, lease=3_600.0
        )

    return start


@on_most
def test_children_come_when_jobs_wait_and_go_when_they_are_not_needed(scaled):
    stage, parent = scaled()
    at_work(stage, 1)
    first, second = stage.directory / "first", stage.directory / "second"
    stage.push(tasks.gated, "long", str(second))
    for n in range(5):
        stage.push(tasks.gated, f"slow{n}", str(first))
    lines = stage.wait_for("start", count=3)
    assert len({line.pid for line in lines}) == 3
    first.touch()
    wait_until(lambda: stage.workers("stopped") >= 1, "one was not needed", seconds=120)
    second.touch()
    wait_until(lambda: stage.workers("stopped") == 2, "and another one", seconds=120)
    assert len(at_work(stage, 1)) == 1
    wait_until(stage.is_settled)
    code, _, err = terminate(parent)
    assert code == 0, err
    assert stage.outcomes() == {"completed": 6}
    assert len(stage.names("start")) == 6  # none was interrupted for it
    assert "again in" not in err
    assert stage.leases() == 0


@on_most
def test_who_was_sent_away_is_not_replaced_however_much_there_is_to_do(scaled):
    stage, parent = scaled("2,2")
    sent_away, stays = at_work(stage, 2)
    give(stage, [sent_away], "stop")
    wait_until(lambda: stage.workers("stopped") == 1)
    for n in range(4):
        stage.push(tasks.work, f"job{n}")
    assert {line.pid for line in stage.wait_for("end", count=4)} == {stays.pid}
    assert terminate(parent)[0] == 0


def test_what_makes_no_sense_is_refused():
    for words, said in [
        (["--autoscale", "1,4", "--processes", "2"], "decides on the number"),
        (["--autoscale", "1,4", "--drain"], "until told to stop"),
        (["--autoscale", "4,1"], "must not be greater"),
        (["--autoscale", "0,1"], "no whole number"),
    ]:
        with pytest.raises(CommandError, match=said):
            call_command("queue_work", *words)
