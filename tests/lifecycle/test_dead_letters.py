from __future__ import annotations

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connections
from django.utils import timezone

from django_jobqueue.exceptions import EnqueueError, JobNotFound, PayloadError, SignatureMismatch
from django_jobqueue.jobs.codec import decode_call
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.lifecycle import dead_letters
from django_jobqueue.lifecycle.dead_letters import (
    discard,
    failed_jobs,
    retry,
    retry_all,
    retry_edited,
    revive,
    statistics,
)
from django_jobqueue.models import DeadLetterJob, Job, JobHistory, JobPriority
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import WorkerIdentity
from tests.lifecycle.letters import ADD, die, write_letter

pytestmark = pytest.mark.django_db


@pytest.fixture
def queue():
    return get_queue()


def test_a_retried_letter_is_the_same_job_again_with_all_its_attempts(queue):
    letter = die(queue, queue="emails", priority=50, max_attempts=4, timeout=2.5, concurrency_key="k")

    assert retry(queue, [letter.id]) == [letter.id]

    assert not DeadLetterJob.objects.exists()
    job = Job.objects.get()
    assert (job.id, job.queue, job.priority, job.max_attempts, job.timeout, job.concurrency_key, job.times_retried) == (
        letter.id,
        "emails",
        50,
        4,
        2.5,
        "k",
        1,
    )
    snapshot = queue.find(letter.id)
    assert (snapshot.attempt, snapshot.lease_no) == (0, letter.lease_no)


def test_lease_numbers_grow_over_deaths_p3(queue):
    letter = die(queue)
    retry(queue, [letter.id])
    worker = WorkerIdentity()
    queue.join(worker)
    assert queue.pop(["default"], worker.id).lease_no == letter.lease_no + 1


def test_a_second_retry_finds_nothing(queue):
    letter = die(queue)
    assert retry(queue, [letter.id, letter.id]) == [letter.id]
    assert retry(queue, [letter.id]) == []
    assert retry(queue, [uuid4()]) == []
    assert JobPriority.objects.count() == 1


def test_a_click_on_an_old_page_does_not_retry_a_later_death(queue):
    letter = write_letter(lease_no=7)
    assert retry(queue, [letter.id], lease_no=6) == []
    assert retry(queue, [letter.id], lease_no=7) == [letter.id]


def test_a_letter_whose_unique_key_is_taken_stays_dead_and_says_why(queue):
    dead = die(queue, unique_key="order-7")
    (holder,) = queue.push(JobPayload(task=ADD, args=dead.args, unique_key="order-7"))

    done = revive(queue, [dead.id])

    assert done.revived == []
    assert str(holder) in done.refused[dead.id]
    assert DeadLetterJob.objects.get() == dead
    assert DeadLetterJob.objects.get().traceback == dead.traceback
    assert Job.objects.get().id == holder


def test_of_two_letters_with_one_unique_key_one_comes_back(queue):
    letters = [write_letter(unique_key="same"), write_letter(unique_key="same")]
    done = revive(queue, [one.id for one in letters])
    assert (len(done.revived), len(done.refused)) == (1, 1)
    assert DeadLetterJob.objects.get().id in done.refused


def test_a_letter_no_store_would_take_stays_dead_and_says_why(queue):
    bad = [write_letter(queue="no spaces!"), write_letter(max_attempts=0), write_letter(unique_key="")]
    good = write_letter()
    done = revive(queue, [*(one.id for one in bad), good.id])
    assert done.revived == [good.id]
    assert set(done.refused) == {one.id for one in bad}
    assert DeadLetterJob.objects.count() == 3


def test_a_letter_with_rubbish_for_arguments_may_still_be_retried(queue):
    letter = write_letter(args="{nonsense", times_retried=32_767)
    assert retry(queue, [letter.id]) == [letter.id]


def test_edited_arguments_replace_the_old_ones(queue):
    letter = die(queue)
    assert retry_edited(queue, letter.id, [3], {"b": 4}) == letter.id
    assert decode_call(Job.objects.get().args) == ([3], {"b": 4})


@pytest.mark.parametrize(
    ("args", "kwargs", "error"),
    [
        ([1], {}, SignatureMismatch),
        ([1, 2, 3], {}, SignatureMismatch),
        ([1, 2], {"c": 1}, SignatureMismatch),
        ([1, float("nan")], {}, PayloadError),
        ([object(), 1], {}, PayloadError),
        (["x\x00", 1], {}, PayloadError),
    ],
)
def test_edited_arguments_are_checked_before_anything_moves(queue, args, kwargs, error):
    letter = die(queue)
    with pytest.raises(error):
        retry_edited(queue, letter.id, args, kwargs)
    assert DeadLetterJob.objects.get() == letter
    assert not Job.objects.exists()


def test_the_signature_of_an_unknown_task_is_not_checked(queue):
    letter = write_letter(task="gone.away")
    assert retry_edited(queue, letter.id, ["anything"], {}) == letter.id


def test_edited_retry_says_when_it_came_too_late_or_may_not(queue):
    with pytest.raises(JobNotFound, match="retried or discarded"):
        retry_edited(queue, uuid4(), [1, 2], {})
    queue.push(JobPayload(task=ADD, args="{}", unique_key="k"))
    letter = write_letter(unique_key="k")
    with pytest.raises(EnqueueError, match="unique key"):
        retry_edited(queue, letter.id, [1, 2], {})
    assert DeadLetterJob.objects.get() == letter


def test_retry_all_goes_chunk_by_chunk_and_leaves_the_rest(queue, monkeypatch):
    monkeypatch.setattr(dead_letters, "CHUNK", 3)
    emails = [write_letter(queue="emails") for _ in range(7)]
    other = write_letter(queue="reports")

    assert retry_all(queue, queue="emails.dlq") == 7

    assert set(Job.objects.values_list("id", flat=True)) == {one.id for one in emails}
    assert DeadLetterJob.objects.get() == other
    assert retry_all(queue, queue="emails") == 0


def test_id_chunks_end_though_jobs_go_on_dying():
    for _ in range(4):
        write_letter()
    seen = []
    for chunk in dead_letters.id_chunks(failed_jobs("default"), size=2):
        seen += chunk
        write_letter()
    assert len(seen) == 4


def test_a_discarded_letter_ends_in_the_history_and_never_runs_again(queue):
    letter = die(queue)

    assert discard(queue, [letter.id, letter.id, uuid4()]) == 1
    assert discard(queue, [letter.id]) == 0

    assert not DeadLetterJob.objects.exists()
    last = JobHistory.objects.get(outcome="discarded")
    assert (last.job_id, last.lease_no, last.args) == (letter.id, letter.lease_no + 1, letter.args)
    assert queue.push(JobPayload(id=letter.id, task=ADD, args=letter.args)) == [letter.id]
    assert not Job.objects.exists()


def test_a_letter_with_the_greatest_lease_number_can_be_discarded(queue):
    assert discard(queue, [write_letter(lease_no=2_147_483_647).id]) == 1


def test_letters_are_found_by_what_they_died_of():
    now = timezone.now()
    old = write_letter(queue="emails", reason="unknown_task", error_class="", failed_at=now - timedelta(days=2))
    new = write_letter(queue="emails", error_class="shop.errors.Declined")

    def found(**filters):
        return set(failed_jobs("default", **filters))

    assert found(queue="emails") == found(queue="emails.dlq") == found() == {old, new}
    assert found(reason="unknown_task") == {old}
    assert found(error_class="Declined") == found(error_class="shop.errors.Declined") == {new}
    assert found(error_class="errors.Declined") == found(task="other") == set()
    assert found(since=now - timedelta(days=1)) == {new}


@pytest.mark.parametrize("latest", [None, 100])
def test_statistics_count_what_died_alike(latest):
    now = timezone.now()
    for hours in (1, 5, 3):
        write_letter(failed_at=now - timedelta(hours=hours))
    write_letter(error_class="builtins.KeyError", queue="emails")

    first, second = statistics("default", latest=latest)

    assert (first.count, first.error_class, first.reason) == (3, "builtins.ValueError", "exhausted")
    assert (first.first_failed_at, first.last_failed_at) == (now - timedelta(hours=5), now - timedelta(hours=1))
    assert (second.count, second.queue) == (1, "emails")


def test_statistics_of_the_latest_look_at_no_more():
    now = timezone.now()
    write_letter(failed_at=now - timedelta(hours=1), task="old")
    write_letter(failed_at=now, task="new")
    assert [group.task for group in statistics("default", latest=1)] == ["new"]


def at_once(count, work):
    """Run `work` in `count` threads that start together; what each gave."""
    gate = threading.Barrier(count)
    results, errors = [], []

    def run():
        try:
            gate.wait(30)
            results.append(work())
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    return results


@pytest.mark.parametrize(
    "alias",
    [
        pytest.param("default", marks=pytest.mark.django_db(transaction=True, databases=["default"])),
        pytest.param("postgres", marks=pytest.mark.django_db(transaction=True, databases=["default", "postgres"])),
        pytest.param("mariadb", marks=pytest.mark.django_db(transaction=True, databases=["default", "mariadb"])),
    ],
)
def test_fifty_retries_at_once_make_one_new_run(alias):
    queue = get_queue(alias)
    letter = die(queue, unique_key="only-one")

    revived = at_once(50, lambda: retry(queue, [letter.id]))

    assert sum(map(len, revived)) == 1
    assert JobPriority.objects.using(alias).count() == 1
    assert not DeadLetterJob.objects.using(alias).exists()


@pytest.mark.django_db(transaction=True)
def test_retry_and_discard_at_once_do_one_of_both():
    queue = get_queue()
    letter = die(queue)
    turns = iter(range(10))
    done = at_once(10, lambda: len(retry(queue, [letter.id])) if next(turns) % 2 else discard(queue, [letter.id]))
    assert sum(done) == 1
