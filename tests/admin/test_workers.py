"""What operators may tell workers from the admin, and who may."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from django_jobqueue.models import WorkerProcess
from django_jobqueue.queues.base import WorkerIdentity, WorkerReport
from tests.admin.conftest import messages_of, staff_with, url

pytestmark = pytest.mark.django_db

ORDERS = [("quiet", "quiet_selected", "quiet"), ("resume", "resume_selected", "run"), ("stop", "stop_selected", "stop")]
orders = pytest.mark.parametrize(("page", "action", "word"), ORDERS, ids=[row[0] for row in ORDERS])
MAY = ("view_workerprocess", "change_workerprocess")
MAY_NOT = ("view_workerprocess", "cancel_job", "retry_deadletterjob", "discard_deadletterjob")


@pytest.fixture
def worker(queue):
    identity = WorkerIdentity(name="host:1/1", host="host", pid=1)
    queue.join(identity)
    return identity.id


def wish(worker):
    return WorkerProcess.objects.get(pk=worker).desired_state


def select(client, action, *workers):
    data = {"action": action, "_selected_action": [str(worker) for worker in workers]}
    return client.post(url("workerprocess"), data, follow=True)


@orders
def test_who_may_change_workers_can_tell_one_by_a_button_and_it_is_written_down(worker, page, action, word):
    assert staff_with(*MAY).post(url("workerprocess", page, worker)).status_code == 302
    assert wish(worker) == word
    assert LogEntry.objects.get().object_id == str(worker)


@orders
def test_and_many_by_an_action(queue, worker, page, action, word):
    other = WorkerIdentity(name="host:1/2", host="host", pid=2)
    queue.join(other)
    response = select(staff_with(*MAY), action, worker, other.id)
    assert (wish(worker), wish(other.id)) == (word, word)
    assert messages_of(response)[0].startswith("2 workers")
    assert LogEntry.objects.count() == 2


@orders
def test_nobody_else_can_and_nobody_by_a_link(worker, as_boss, page, action, word):
    address = url("workerprocess", page, worker)
    assert as_boss.get(address).status_code == 405
    assert staff_with(*MAY_NOT).post(address).status_code == 403
    assert "/login/" in Client().post(address)["Location"]
    assert f'value="{action}"' not in select(staff_with(*MAY_NOT), action, worker).content.decode()
    assert wish(worker) == ""


@orders
def test_who_is_gone_is_told_nothing(queue, worker, as_boss, page, action, word):
    queue.leave(worker)
    response = as_boss.post(url("workerprocess", page, worker), follow=True)
    assert messages_of(response) == ["Nobody was told: they are not at work."]
    assert wish(worker) == ""


@pytest.mark.parametrize(
    ("word", "said"), [("quiet", "told to be quiet"), ("stop", "told to stop"), ("run", "running")]
)
def test_the_list_says_what_a_worker_was_told(worker, as_boss, word, said):
    WorkerProcess.objects.filter(pk=worker).update(desired_state=word)
    assert said in as_boss.get(url("workerprocess")).content.decode()


@pytest.mark.parametrize(
    ("word", "said"), [("quiet", "takes no more jobs"), ("", "takes no more jobs"), ("stop", "told to stop")]
)
def test_the_list_says_who_is_quiet(queue, worker, as_boss, word, said):
    assert queue.heartbeat(worker, WorkerReport(quiet=True))
    WorkerProcess.objects.filter(pk=worker).update(desired_state=word)
    assert said in as_boss.get(url("workerprocess")).content.decode()
