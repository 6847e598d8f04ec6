"""The admin of schedules with other settings, and with jobs in other stores: away, silent or gone."""

from __future__ import annotations

import re
import socket
from datetime import timedelta

import pytest
from django.urls import reverse

from django_jobqueue.admin.schedule_runs import TICKS
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.schedule import cron
from django_jobqueue.models import DelayedJob, RecurringJob
from django_jobqueue.queues.base import WorkerIdentity
from django_jobqueue.queues.redis.connection import Connection
from django_jobqueue.queues.redis.scripts import Scripts
from django_jobqueue.scheduling import breaker
from django_jobqueue.scheduling.ticks import tick_id
from tests.admin.conftest import messages_of, url
from tests.admin.schedules import LIST, fresh, leave, make, run_page, sent
from tests.admin.test_pages import html_of
from tests.lifecycle.letters import ADD
from tests.stores import NOBODY_LISTENS, ONE_STORE, empty_fast, two_stores

pytestmark = pytest.mark.django_db


def test_with_use_tz_off_times_are_local_ones(as_boss, settings):
    settings.USE_TZ, settings.TIME_ZONE = False, "America/New_York"
    row = make("digest", cron("30 8 * * *", "Europe/Berlin"))
    leave(row, ["completed", "completed"])
    html = html_of(as_boss, url(LIST))
    assert html.count('<rect class="jq-good"') == 0  # ticks of full hours are none of this rhythm's
    leave(make(), ["completed", "failed"])
    assert re.findall(r'<rect class="jq-(good|bad)"', html_of(as_boss, url(LIST))) == ["good", "bad"]
    form = sent(expression="0 3 * * *", starts_at="2030-01-01T12:00", ends_at="2030-02-01T12:00")
    assert as_boss.post(url(LIST, "add"), form).status_code == 302
    made = RecurringJob.objects.get(name="nightly")
    assert str(made.next_run_at) == "2030-01-01 21:00:00"  # three in Berlin, the day after
    html_of(as_boss, url(LIST, "change", made.pk))
    assert len(as_boss.get(url(LIST, "change", made.pk)).context["page"].preview.runs) == 10
    assert as_boss.post(url(LIST, "edit", made.pk), sent(made, jitter="3", **dates_of(made))).status_code == 302


def dates_of(row):
    return {name: getattr(row, name).strftime("%Y-%m-%dT%H:%M:%S") for name in ("starts_at", "ends_at")}


def test_a_store_that_is_away_stops_no_page_and_no_button(as_boss, settings):
    settings.TASKS = two_stores(NOBODY_LISTENS)
    row = make("far", backend="fast")
    leave(row, ["", "completed"])
    html = html_of(as_boss, url(LIST))
    assert "1 completed" in html
    assert f"{TICKS - 1} its store does not answer" in html
    assert "its store does not answer" in html_of(as_boss, url(LIST, "change", row.pk))
    as_boss.post(run_page(row), {"args": "[1, 2]", "kwargs": "{}"})
    assert DelayedJob.objects.get().reason == "outbox"  # it waits there until the store is back
    assert as_boss.post(url(LIST, "pause", row.pk), follow=True).status_code == 200
    assert not fresh(row).enabled


def test_a_backend_that_is_gone_from_the_settings(as_boss, settings):
    settings.TASKS = ONE_STORE
    row = make("orphan", backend="gone")
    html_of(as_boss, url(LIST, "change", row.pk))
    html_of(as_boss, url(LIST, "edit", row.pk))
    response = as_boss.post(run_page(row), {"args": "[1, 2]", "kwargs": "{}"})
    assert "gone" in str(response.context["form"].non_field_errors())
    told = messages_of(
        as_boss.post(url(LIST), {"action": "trigger_selected", "_selected_action": [row.pk]}, follow=True)
    )
    assert "orphan" in told[0]


@pytest.mark.redis
def test_jobs_in_redis_are_told_of_and_asked_for_at_once(as_boss, settings, monkeypatch):
    settings.TASKS = two_stores()
    queue = empty_fast()
    rows = [make(f"fast {number}", backend="fast") for number in range(3)]
    for row in rows:
        leave(row, ["completed", "", "retrying"])
    last, before = fresh(rows[0]).last_run_at, fresh(rows[0]).last_run_at - timedelta(hours=1)
    running, waiting = (tick_id(rows[0].name, moment) for moment in (before, last))
    queue.deliver([JobPayload(id=running, task=ADD, args="{}")])
    worker = WorkerIdentity()
    queue.join(worker)
    assert queue.pop((), worker.id)
    queue.deliver([JobPayload(id=waiting, task=ADD, args="{}")])
    calls = []
    call = queue.connection.call
    monkeypatch.setattr(Connection, "call", lambda _self, *command: calls.append(command) or call(*command))
    html = html_of(as_boss, url(LIST))
    told = re.findall(r"<title>[^<]*?\d: ([^<]+)</title>", html)[:TICKS]
    assert told[-3:] == ["completed, 2.0 s", "running", "failed, will be retried, 2.0 s"]
    assert reverse("admin:django_jobqueue_job_live", args=["fast", waiting]) in html
    scripts = [command[1] for command in calls if command[0] == "EVALSHA"]
    assert len(scripts) == 2  # the second: what the outbox did not have either may have arrived meanwhile
    empty_fast()


def test_a_store_that_hangs_is_waited_for_once_and_not_by_each_page(as_boss, settings, monkeypatch):
    monkeypatch.setattr(breaker, "SILENCE", 1_000)
    calls = []
    run = Scripts.run
    monkeypatch.setattr(Scripts, "run", lambda *call: calls.append(call[1]) or run(*call))
    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings.TASKS = two_stores({"url": f"redis://127.0.0.1:{mute.getsockname()[1]}/0?socket_timeout=0.1"})
        for number in range(3):
            leave(make(f"far {number}", backend="fast"), ["completed", ""])
        for _ in range(3):
            assert "its store does not answer" in html_of(as_boss, url(LIST))
    assert calls == ["statuses"]


@pytest.mark.redis
def test_a_schedule_of_a_redis_store_runs_by_hand_there(as_boss, settings):
    settings.TASKS = two_stores()
    queue = empty_fast()
    row = make("fast one", backend="fast")
    as_boss.post(run_page(row), {"args": "[3, 4]", "kwargs": "{}"})
    job_id = fresh(row).last_job_id
    assert queue.find(job_id) is not None or DelayedJob.objects.filter(pk=job_id, reason="outbox").exists()
    html_of(as_boss, url(LIST, "change", row.pk))
    empty_fast()
