"""The books: what was pushed against what became of it, and what the samples promise against what is in the shop."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count

from django_jobqueue.jobs.schedule import schedule_of
from django_jobqueue.models import DeadLetterJob, JobHistory, RecurringJob
from django_jobqueue.scheduling.ticks import tick_id
from shop import jobs, stores, tasks
from shop.models import Invoice, Order, OrderLine, Picture

Outcome = JobHistory.Outcome
MESSAGE_ID = re.compile(rb"^Message-ID: <(INV-\d+)@", re.MULTILINE | re.IGNORECASE)


def expected() -> dict[str, Any]:
    """What make_samples.py put into the samples."""
    values: dict[str, Any] = json.loads((settings.SAMPLES_DIR / "expected.json").read_text(encoding="utf-8"))
    values["good_orders"] = values["orders"] - sum(values["broken_orders"].values())
    return values


@dataclass
class TaskLine:
    """One task's account. `pushed` is known from the samples, everything else from the queue's tables."""

    task: str
    pushed: int
    completed: int = 0
    dead: int = 0
    cancelled: int = 0
    retries: int = 0
    snoozes: int = 0
    waits: list[int] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.task.rpartition(".")[2]

    @property
    def adds_up(self) -> bool:
        return self.pushed == self.completed + self.dead + self.cancelled


@dataclass(frozen=True)
class DeadGroup:
    task: str
    reason: str
    error: str
    count: int
    example: str


@dataclass(frozen=True)
class Check:
    holds: bool
    text: str


def percentile(values: Sequence[int], share: float) -> int:
    """The smallest value that `share` of all values don't exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else 0


def pushed(facts: dict[str, Any]) -> dict[str, int]:
    return {
        "shop.tasks.import_orders": 1,
        "shop.tasks.import_order": facts["orders"],
        "shop.jobs.SendInvoice": facts["good_orders"],
        "shop.tasks.make_thumbnail": facts["pictures"] + 1,  # one calls it as an older release did
        "shop.tasks.fetch_rate": facts["rates"],
        "shop.tasks.write_report": 1,
        "shop.tasks.watch_queue": 5,
        "shop.tasks.collect_sales": 1,
        "shop.tasks.report_sales": 1,
        "shop.tasks.send_sales": 1,
        "shop.tasks.remind": 1,
        "shop.tasks.wrap_gift": 1,
    }


def pushed_by_store(lines: list[TaskLine]) -> Counter[str]:
    """How many jobs each entry of TASKS should have had."""
    backends = {f"shop.tasks.{name}": task.backend for name, task in vars(tasks).items() if hasattr(task, "backend")}
    backends["shop.jobs.SendInvoice"] = jobs.SendInvoice.job_task.backend
    counts: Counter[str] = Counter()
    for line in lines:
        counts[backends.get(line.task, "default")] += line.pushed
    return counts


def ended_by_store() -> Counter[str]:
    """How many it has had, by the column of history and dead letters: empty for jobs that lived in the database."""
    counts: Counter[str] = Counter()
    for rows in (JobHistory.objects.filter(outcome__in=JobHistory.FINAL), DeadLetterJob.objects.all()):
        counts.update(dict(rows.order_by().values_list("store").annotate(Count("pk"))))
    names = {queue.store: queue.alias for queue in stores.queues()}
    return Counter({names.get(store, store): count for store, count in counts.items()})


def accounts(facts: dict[str, Any]) -> list[TaskLine]:
    lines = {task: TaskLine(task, count) for task, count in pushed(facts).items()}
    unforeseen = TaskLine("other", 0)
    for task, outcome, wait, run in JobHistory.objects.values_list("task", "outcome", "wait_ms", "run_ms"):
        line = lines.get(task, unforeseen)
        line.completed += outcome == Outcome.COMPLETED
        line.cancelled += outcome == Outcome.CANCELLED
        line.retries += outcome == Outcome.RETRYING
        line.snoozes += outcome == Outcome.SNOOZED
        if outcome != Outcome.CANCELLED:
            line.waits.append(wait)
            line.runs.append(run)
    for task in DeadLetterJob.objects.values_list("task", flat=True):
        lines.get(task, unforeseen).dead += 1
    return [*lines.values(), *([unforeseen] if unforeseen.completed or unforeseen.dead else [])]


def total(lines: list[TaskLine]) -> TaskLine:
    whole = TaskLine("total", 0)
    for line in lines:
        for name in ("pushed", "completed", "dead", "cancelled", "retries", "snoozes", "waits", "runs"):
            setattr(whole, name, getattr(whole, name) + getattr(line, name))
    return whole


def dead_groups() -> list[DeadGroup]:
    """Dead letters by task, reason and error, the largest group first, each with its first message."""
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for letter in DeadLetterJob.objects.order_by("failed_at"):
        key = (letter.task.rpartition(".")[2], letter.reason, letter.error_class.rpartition(".")[2])
        groups[key].append(letter.error_message)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return [DeadGroup(*key, len(messages), messages[0]) for key, messages in ordered]


def pace() -> tuple[float, int]:
    """Seconds from the first start to the last end, and how many executions ended in the busiest second."""
    ends = JobHistory.objects.exclude(started_at=None).values_list("started_at", "finished_at")
    if not ends:
        return 0.0, 0
    seconds = (max(end for _, end in ends) - min(start for start, _ in ends)).total_seconds()
    return seconds, max(Counter(end.replace(microsecond=0) for _, end in ends).values())


def letters_written() -> Counter[str]:
    """How often each invoice is in the mail files."""
    found: Counter[str] = Counter()
    for file in settings.MAIL_DIR.glob("*.log"):
        found.update(number.decode() for number in MESSAGE_ID.findall(file.read_bytes()))
    return found


def checks(facts: dict[str, Any], lines: list[TaskLine]) -> Iterator[Check]:
    whole, waiting = total(lines), stores.live_jobs()
    yield Check(
        all(line.adds_up for line in lines) and not waiting and not endings_that_repeat(),
        f"every job ended once: {whole.pushed:,} pushed = {whole.completed:,} completed + {whole.dead:,} dead "
        f"+ {whole.cancelled:,} cancelled, {waiting:,} waiting",
    )
    if len(settings.TASKS) > 1:
        foreseen, found = pushed_by_store(lines), ended_by_store()
        parts = " and ".join(f"{found[alias]:,} in {alias!r}" for alias in foreseen)
        yield Check(found == foreseen, f"each in its store, {parts}")
    good, orders = facts["good_orders"], Order.objects.count()
    # added up here, because SQLite adds decimals as floating point numbers
    in_orders = sum(Order.objects.values_list("total", flat=True))
    in_lines = sum(quantity * price for quantity, price in OrderLine.objects.values_list("quantity", "unit_price"))
    yield Check(orders == good, f"{orders:,} of {facts['orders']:,} orders are in the shop, and {good:,} can be read")
    yield Check(in_orders == in_lines, f"their totals are the sum of their lines: {in_orders:,.2f} and {in_lines:,.2f}")
    letters, mailed = letters_written(), Invoice.objects.exclude(mailed_at=None).count()
    yield Check(
        len(letters) == mailed == good - facts["no_mailbox"],
        f"{mailed:,} invoices are marked as mailed and {len(letters):,} are in the mail; "
        f"{facts['no_mailbox']} customers have no mailbox",
    )
    third = JobHistory.objects.filter(task="shop.jobs.SendInvoice", outcome=Outcome.COMPLETED, attempt=3).count()
    yield Check(third == facts["slow_mailboxes"], f"{third} invoices were accepted at the third attempt")
    small = Picture.objects.exclude(thumbnail="").count()
    yield Check(
        small == facts["pictures"] - facts["broken_pictures"],
        f"{small} of {facts['pictures']} pictures have a thumbnail, {facts['broken_pictures']} is broken",
    )
    foreseen, found = Counter(ticks()), jobs_of_ticks()
    yield Check(
        foreseen == found,
        f"{len(foreseen)} ticks of schedules were due, and {found.total()} jobs came of them, one each",
    )
    yield Check(
        Counter({(group.reason, group.error): group.count for group in dead_groups()}) == deaths_foreseen(facts),
        "the dead letters are those that were broken on purpose, each for its reason",
    )


def ticks() -> Iterator[UUID]:
    """The ids of the jobs that the ticks of the demo's schedules should have become."""
    for row in RecurringJob.objects.filter(source=RecurringJob.Source.ADMIN):
        schedule = schedule_of(row.kind, row.expression, row.timezone)
        tick = schedule.next_after(row.starts_at - timedelta.resolution)
        while tick is not None and tick <= row.ends_at:
            yield tick_id(row.name, tick)
            tick = schedule.next_after(tick)


def jobs_of_ticks() -> Counter[UUID]:
    """What became of them. The ids of all other jobs are of another version."""
    ended = JobHistory.objects.filter(outcome__in=JobHistory.FINAL).values_list("job_id", flat=True)
    return Counter(job_id for job_id in ended if job_id.version == 5)


def endings_that_repeat() -> bool:
    """Whether a job has two final rows in the history, or is both over and dead."""
    endings = JobHistory.objects.filter(outcome__in=JobHistory.FINAL).order_by()
    twice = endings.values("job_id").annotate(times=Count("pk")).filter(times__gt=1)
    return twice.exists() or endings.filter(job_id__in=DeadLetterJob.objects.values("pk")).exists()


def deaths_foreseen(facts: dict[str, Any]) -> Counter[tuple[str, str]]:
    broken = facts["broken_orders"]
    return Counter(
        {
            ("exhausted", "InvalidOrder"): broken["price"] + broken["date"] + broken["cut off"],
            ("exhausted", "DoesNotExist"): broken["unknown product"],
            ("discarded", "Discard"): broken["negative"],
            ("exhausted", "SMTPRecipientsRefused"): facts["no_mailbox"],
            ("exhausted", "OSError"): facts["broken_pictures"],
            ("unknown_task", "UnknownTask"): 1,
            ("signature_mismatch", "SignatureMismatch"): 1,
        }
    )
