"""A shop in the middle of a working day: jobs that wait, run, are done, and died of real exceptions."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.utils import timezone

from django_jobqueue import task
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.registry import lookup
from django_jobqueue.lifecycle.errors import describe
from django_jobqueue.models import DeadLetterJob, Job, JobHistory, JobLock, JobPriority, RecurringJob, WorkerProcess
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import ErrorRecord, Move, Reservation, Settlement, WorkerIdentity, WorkerReport


class CardDeclined(Exception):
    """What a payment service says."""


PRICES = {"mug": 990, "poster": 1_490}


@task(name="shop.billing.send_invoice", queue_name="billing")
def send_invoice(order_id: int, *, currency: str = "EUR", lines: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"order": order_id, "total": total_of(lines or []), "currency": currency}


def total_of(lines: list[dict[str, Any]]) -> int:
    return sum(PRICES[line["sku"]] * line["quantity"] for line in lines)


@task(name="shop.billing.capture_payment", queue_name="billing")
def capture_payment(order_id: int, amount: str) -> None:
    raise CardDeclined(f"order {order_id}: the bank refused {amount} (insufficient funds)")


@task(name="shop.catalogue.make_thumbnail", queue_name="images")
def make_thumbnail(path: str, width: int = 320) -> str:
    if path.endswith(".heic"):
        raise OSError(f"cannot identify image file {path!r}")
    return f"{path}@{width}"


@task(name="shop.mail.send_welcome_email", queue_name="emails")
def send_welcome_email(user_id: int) -> str:
    if user_id % 7 == 0:
        raise ConnectionRefusedError(111, "Connection refused: smtp.example.com:587")
    return f"sent to user {user_id}"


@task(name="shop.orders.import_orders", queue_name="imports")
def import_orders(file: str, from_line: int = 0) -> dict[str, int]:
    return {"imported": 1_204, "skipped": 3}


def fill() -> dict[str, Any]:
    """Write the day, and give the keys of what is photographed."""
    random.seed(7)
    User.objects.create_superuser("operator", password="operator")
    queue = get_queue()
    worker = WorkerIdentity(name="web-3:4211", host="web-3", pid=4211, queues=("billing", "emails"), version="0.1.0")
    other = WorkerIdentity(name="web-4:977", host="web-4", pid=977, version="0.1.0")
    gone = WorkerIdentity(name="batch-1:20114", host="batch-1", pid=20_114, queues=("imports",), version="0.1.0")
    for one in (worker, other, gone):
        queue.join(one)
        queue.heartbeat(one.id, WorkerReport(completed=random.randint(800, 9_000), failed=12, rss_kb=61_440))
    day_of_work(worker)
    letters = deaths(worker)
    wait_and_run(worker, other)
    silence = timezone.now() - timedelta(minutes=4)
    WorkerProcess.objects.filter(id=gone.id).update(heartbeat_at=silence, expires_at=silence)
    schedules()
    return {"letter": letters[0], "edit": letters[0]}


def push(name: str, *args: Any, **options: Any) -> JobPayload:
    kwargs = options.pop("kwargs", {})
    payload = JobPayload.create(lookup(name).task, args, kwargs, **{"max_attempts": 3, **options})
    get_queue().push(payload)
    return payload


def run(worker: WorkerIdentity, name: str, *args: Any, last: Move = Move.COMPLETED, **options: Any) -> UUID:
    """Push a job and run it to its end, with as many failures before as it takes."""
    payload = push(name, *args, **options)
    queue = get_queue()
    while (job := queue.pop([payload.queue], worker.id)) is not None:
        queue.settle([settlement(job, lookup(name).func, args, options.get("kwargs", {}), last)])
        queue.run_now(job.job_id)
    return payload.id


def settlement(job: Reservation, func: Callable[..., Any], args: Any, kwargs: Any, last: Move) -> Settlement:
    run_ms = random.randint(8, 900)
    try:
        result = func(*args, **kwargs)
    except Exception as error:
        move = Move.DEAD if job.attempt >= job.max_attempts else Move.RETRY
        return Settlement(
            job, move, error=as_deployed(error), reason="exhausted", run_ms=run_ms, delay=15 * 4**job.attempt
        )
    return Settlement(job, last, result=f'"{result}"', run_ms=run_ms, memory_kb=48_000)


def as_deployed(error: Exception) -> ErrorRecord:
    """The exception as if it had been raised in the shop, not in this script."""
    assert error.__traceback__ is not None
    record = describe(error.with_traceback(error.__traceback__.tb_next))
    return record._replace(traceback=record.traceback.replace(__file__, "/srv/shop/tasks.py"))


def day_of_work(worker: WorkerIdentity) -> None:
    for number in range(40):
        run(worker, "shop.mail.send_welcome_email", 1 + number * 7)
        run(worker, "shop.catalogue.make_thumbnail", f"products/{number:03}.jpg")
    backdate(JobHistory.objects.all(), timedelta(hours=5))


def deaths(worker: WorkerIdentity) -> list[UUID]:
    lines = [{"sku": "mug", "quantity": 2}, {"sku": "poster-a2", "quantity": 1}]
    order = {"order_id": 10_482, "currency": "EUR", "lines": lines}
    ids = [run(worker, "shop.billing.send_invoice", kwargs=order)]
    for number in range(6):
        kwargs = {**order, "order_id": 10_300 + number}
        ids.append(run(worker, "shop.billing.send_invoice", kwargs=kwargs))
    for number in range(23):
        ids.append(run(worker, "shop.mail.send_welcome_email", 7 * (number + 1)))
    for number in range(11):
        ids.append(run(worker, "shop.billing.capture_payment", 9_800 + number, f"{19 + number}.90"))
    for number in range(4):
        ids.append(run(worker, "shop.catalogue.make_thumbnail", f"uploads/IMG_{2_040 + number}.heic"))
    for position, pk in enumerate(ids):
        spread(pk, timedelta(minutes=3 + position * 7))
    renamed = DeadLetterJob.objects.get(pk=ids[-1])
    DeadLetterJob.objects.filter(pk=renamed.pk).update(
        task="shop.legacy.sync_stock", reason="unknown_task", error_class="", error_message="", traceback=""
    )
    return ids


def spread(pk: UUID, age: timedelta) -> None:
    """Move a death and what led to it into the past: each attempt a little earlier than the next."""
    died = timezone.now() - age
    rows = list(JobHistory.objects.filter(job_id=pk).order_by("-lease_no"))
    for back, row in enumerate(rows):
        started = died - timedelta(seconds=0.4 + 75 * back * (back + 1))
        row.enqueued_at, row.started_at = died - timedelta(minutes=9), started
        row.finished_at = started + timedelta(milliseconds=row.run_ms)
        row.wait_ms = 40 * (back + 1) + random.randint(0, 900)
        row.save()
    DeadLetterJob.objects.filter(pk=pk).update(failed_at=died, enqueued_at=died - timedelta(minutes=9))


def backdate(rows: Any, longest: timedelta) -> None:
    for row in rows:
        finished = timezone.now() - random.random() * longest
        row.enqueued_at = row.started_at = finished - timedelta(seconds=1)
        row.finished_at, row.wait_ms = finished, random.randint(2, 600)
        row.save()


def wait_and_run(worker: WorkerIdentity, other: WorkerIdentity) -> None:
    now = timezone.now()
    for number in range(9):
        push("shop.mail.send_welcome_email", 20_811 + number)
    push("shop.billing.send_invoice", kwargs={"order_id": 10_517, "currency": "EUR"}, delay=1_260)
    push("shop.billing.send_invoice", kwargs={"order_id": 10_518, "currency": "CHF"}, priority=50, delay=86_000)
    failing = push("shop.billing.capture_payment", 10_511, "42.00")
    queue = get_queue()
    job = queue.pop(["billing"], worker.id)
    assert job is not None
    queue.settle([settlement(job, capture_payment.func, [10_511, "42.00"], {}, Move.COMPLETED)])
    running = [push("shop.orders.import_orders", "orders-2026-11.csv", kwargs={"from_line": 48_000}, priority=50)]
    running.append(push("shop.catalogue.make_thumbnail", "products/417.jpg", kwargs={"width": 640}))
    for payload, who, seconds in zip(running, (other, worker), (312, 2), strict=True):
        claimed = queue.pop([payload.queue], who.id)
        assert claimed is not None
        JobLock.objects.filter(pk=claimed.job_id).update(claimed_at=now - timedelta(seconds=seconds))
    for position, row in enumerate(JobPriority.objects.order_by("seq")):
        JobPriority.objects.filter(pk=row.pk).update(seq=row.seq - (90 - position * 9) * 10**9)
    Job.objects.exclude(pk=failing.id).update(created_at=now - timedelta(seconds=95))
    Job.objects.filter(pk=running[0].id).update(created_at=now - timedelta(seconds=315))


def schedules() -> None:
    now = timezone.now()
    rows = [
        ("Nightly stock report", "shop.catalogue.stock_report", "cron", "0 3 * * *", True),
        ("Dunning", "shop.billing.send_reminders", "cron", "0 8 * * 1-5", True),
        ("Exchange rates", "shop.billing.fetch_rates", "interval", "1 h", False),
    ]
    for name, task_name, kind, expression, enabled in rows:
        RecurringJob.objects.create(
            name=name,
            task=task_name,
            kind=kind,
            expression=expression,
            timezone="Europe/Berlin",
            enabled=enabled,
            last_run_at=now - timedelta(hours=6),
            next_run_at=now + timedelta(hours=18),
        )
