from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.models import JobPriority
from django_jobqueue.queues import get_queue
from tests.lifecycle.letters import ADD
from tests.stores import NOBODY_LISTENS, ONE_STORE, two_stores

pytestmark = pytest.mark.django_db(transaction=True)
AT_ONCE = ["--patience", "0s"]


@pytest.fixture(autouse=True)
def one_store(settings):
    settings.TASKS = ONE_STORE


def run(*words):
    """What it prints, and its exit code."""
    out = StringIO()
    try:
        call_command("queue_fsck", *AT_ONCE, *words, stdout=out, stderr=out)
    except CommandError as error:
        return f"{out.getvalue()}{error}", error.returncode
    return out.getvalue(), 0


def plant():
    return JobPriority.objects.create(job_id=uuid7(), queue="x", priority=0, seq=1).pk


def test_a_store_in_order_is_0():
    get_queue().push(JobPayload(task=ADD, args="{}"))
    text, code = run()
    assert code == 0
    assert "1 jobs" in text
    assert "Nothing is wrong" in text


def test_a_finding_is_1_also_when_it_is_repaired():
    job_id = plant()
    text, code = run()
    assert code == 1
    assert f"WARNING no_job: 1 ({job_id})" in text
    text, code = run("--repair")
    assert code == 1
    assert "1 repaired." in text
    assert "One kind of fault." in text
    assert run()[1] == 0


def test_a_store_that_is_away_is_2_and_the_others_are_checked(settings):
    settings.TASKS = two_stores(NOBODY_LISTENS)
    plant()
    text, code = run()
    assert code == 2
    assert "no_job" in text
    assert "The store 'fast' is out of reach" in text
    assert run("--backend", "default")[1] == 1


def test_json():
    job_id = plant()
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("queue_fsck", "--json", *AT_ONCE, stdout=out)
    report = json.loads(out.getvalue())
    [store] = report["stores"]
    assert (store["backend"], store["is_clean"], report["problems"]) == ("default", False, {})
    codes = {one["code"]: one["examples"] for one in store["findings"]}
    assert codes["no_job"] == [str(job_id)]


def test_more_may_be_late_when_asked(settings):
    assert run("--late", "2h")[1] == 0
