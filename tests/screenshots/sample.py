"""A shop in the middle of a working day: jobs that wait, run, are done, and died of real exceptions."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.utils import timezone

from django_jobqueue import cron, every, manual, task
from django_jobqueue.jobs.codec import encode_call
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.registry import lookup
from django_jobqueue.jobs.schedule import Schedule
from django_jobqueue.lifecycle.errors import describe
from django_jobqueue.models import DeadLetterJob, Job, JobHistory, JobLock, JobPriority, RecurringJob, WorkerProcess
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import ErrorRecord, Move, Reservation, Settlement, WorkerIdentity, WorkerReport
from django_jobqueue.scheduling.edits import plan
from django_jobqueue.scheduling.register import STORE, Register
from django_jobqueue.scheduling.ticks import tick_id


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
    return {"letter": letters[0], "schedule": schedules()}


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


STOCK, DIGEST = "shop.catalogue.stock_report", "Morning digest"


@task(name=STOCK, queue_name="reports")
def stock_report(warehouse: str = "main", *, full: bool = False) -> str:
    return f"{warehouse}: {'full' if full else 'short'}"


@task(name="shop.mail.send_digest", queue_name="emails")
def send_digest(audience: str, limit: int = 20) -> int:
    return limit


@task(name="shop.billing.fetch_rates", queue_name="billing")
def fetch_rates(base: str) -> None:
    return None


@task(name="shop.billing.send_reminders", queue_name="billing")
def send_reminders(days: int) -> None:
    return None


def schedules() -> int:
    """Schedules with what their last runs came to; gives the key of the one that is photographed."""
    berlin = "Europe/Berlin"
    made = [
        schedule(DIGEST, "shop.mail.send_digest", cron("0 8 * * 1-5", berlin), ["customers"], limit=50),
        schedule("Exchange rates", "shop.billing.fetch_rates", every(minutes=10), ["EUR"], bad=(3, 4, 11)),
        schedule("Dunning", "shop.billing.send_reminders", cron("30 9 1,15 * *", berlin), [14], enabled=False),
        schedule("Nightly stock report", STOCK, cron("15 3 * * *", berlin), source="code", bad=(0,)),
        schedule("Stock, every warehouse", STOCK, cron("*/30 6-21 * * *", "America/New_York"), ["east"], full=True),
        schedule("Import of orders", "shop.orders.import_orders", manual(), ["orders.csv"]),
        schedule("Price list", "shop.legacy.price_list", cron("0 6 * * 1", "UTC"), runs=0),
    ]
    RecurringJob.objects.filter(name="Price list").update(
        failures=7,
        last_error="no task is registered as 'shop.legacy.price_list' in this process: was it renamed or removed?",
        due_at=timezone.now() + timedelta(minutes=8),
    )
    for name, rhythm, age in (("prune history", every(hours=1), 1_900), ("promote", every(seconds=5), 3)):
        chore(name, rhythm, timezone.now() - timedelta(seconds=age))
    Register("default").beat(dispatched=4_211, failed=0)
    since = timezone.now() - timedelta(days=3, hours=5)
    WorkerProcess.objects.filter(store=STORE).update(name="web-1:902", host="web-1", pid=902, started_at=since)
    return made[0]


def schedule(
    name: str, task_name: str, rhythm: Schedule, args: Any = (), *, runs: int = 20, bad: Any = (), **options: Any
) -> int:
    now = timezone.now()
    columns = {key: options.pop(key) for key in ("enabled", "source") if key in options}
    row = RecurringJob(
        name=name,
        task=task_name,
        args=encode_call(args, options),
        kind=rhythm.kind,
        expression=rhythm.expression,
        timezone=rhythm.timezone,
        last_run_at=rhythm.last_until(now),
        **columns,
    )
    plan(row, now)
    row.save()
    tick = row.last_run_at
    for back in range(runs if tick else 0):
        past(
            row,
            tick,
            random.randint(300, 3_000) * (9 if back % 8 == 5 else 1),
            "failed" if back in bad else "completed",
        )
        tick = rhythm.last_until(tick - timedelta.resolution)
    return row.pk


def past(row: RecurringJob, tick: datetime, run_ms: int, outcome: str) -> None:
    """What is left of the job of one tick."""
    job_id, end = tick_id(row.name, tick), tick + timedelta(milliseconds=run_ms)
    times = {"enqueued_at": tick, "started_at": tick, "finished_at": end}
    JobHistory.objects.create(
        job_id=job_id, lease_no=1, attempt=1, queue="reports", task=row.task, outcome=outcome, run_ms=run_ms, **times
    )


def chore(name: str, rhythm: Schedule, last: datetime) -> None:
    row = RecurringJob(
        name=f"chore:{name}", task=name, kind=rhythm.kind, expression=rhythm.expression, source="chore", backend=""
    )
    row.last_run_at = rhythm.last_until(last)
    plan(row, timezone.now())
    row.save()
