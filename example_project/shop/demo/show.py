"""The summary, for people."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import OutputWrapper
from django.core.management.color import Style
from django.db import connection
from django.db.models import Sum

from django_jobqueue.queues.base import Queue
from shop import stores
from shop.demo import books
from shop.demo.stage import PASSWORD, USER
from shop.models import Invoice, Picture

WIDTH = 110
AGAIN = {
    "database": ("", "manage.py queue_work"),
    "redis": (" STORE=redis", "with_redis.py queue_work"),
    "both": (" STORE=both", "with_redis.py --both queue_work --backend default --backend fast"),
}


class Page:
    """Writes headings, tables and lines; `progress` is one line that is written over, and only for a terminal."""

    def __init__(self, out: OutputWrapper, style: Style) -> None:
        self.out, self.style = out, style

    def heading(self, text: str) -> None:
        self.out.write(f"\n{self.style.MIGRATE_HEADING(text)}")

    def line(self, text: str = "") -> None:
        self.out.write(f"  {text}" if text else "")

    def progress(self, text: str) -> None:
        if self.out.isatty():
            self.out.write(f"\r\033[K  {text}"[: WIDTH + 6], ending="")
            self.out.flush()

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]], total: bool = False) -> None:
        cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in (head, *rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "   ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
            for row in cells
        ]
        self.line(self.style.MIGRATE_LABEL(lines[0]))
        for line in lines[1 : len(lines) - total]:
            self.line(line)
        if total:
            self.line("─" * len(lines[0]))
            self.line(lines[-1])


def beginning(page: Page, facts: dict[str, Any], enqueued: int) -> None:
    pictures = list((settings.SAMPLES_DIR / "pictures").iterdir())
    page.heading("The example shop of django_jobqueue")
    page.line(f"database   {connection.vendor}, {place(connection.settings_dict['NAME'])}")
    for queue in stores.queues():
        page.line(f"store      {queue.alias}: {about(queue)}")
    page.line(
        f"samples    {facts['lines']:,} order lines, {len(pictures)} pictures "
        f"({megabytes(sum(file.stat().st_size for file in pictures))}), some broken on purpose"
    )
    page.line(f"enqueued   {enqueued} jobs; the first of them enqueues the others")
    if len(settings.TASKS) > 1:
        page.line("worker     manage.py queue_work --backend default --backend fast, a process for each store, until")
        page.line("           nothing waits any more")
    else:
        page.line("worker     manage.py queue_work, in a process of its own, until nothing waits any more")
    page.line("scheduler  manage.py scheduler_run, beside it: four schedules are due within the next seconds")


def about(queue: Queue) -> str:
    if not queue.store:
        return "the database"
    server = queue.connection.health()
    whose = "pictures and billing" if len(settings.TASKS) > 1 else "all jobs"
    what = f"{server.kind.capitalize()} {server.version} ({server.persistence})"
    return f"{whose} in {what}, what is over in the database"


def summary(page: Page, lines: list[books.TaskLine], checks: list[books.Check]) -> None:
    whole = books.total(lines)
    what_happened(page, lines, whole)
    what_came_of_it(page)
    dead_letters(page)
    page.heading("Do the books add up?")
    for check in checks:
        page.line(f"{page.style.SUCCESS('yes') if check.holds else page.style.ERROR(' NO')}  {check.text}")


def what_happened(page: Page, lines: list[books.TaskLine], whole: books.TaskLine) -> None:
    page.heading("What happened")
    head = ["task", "pushed", "completed", "retries", "snoozes", "dead", "cancelled"]
    head += ["wait p50 / p95 ms", "run p50 / p95 ms"]
    page.table(head, [account(line) for line in [*lines, whole]], total=True)
    seconds, best = books.pace()
    page.line()
    page.line(
        f"{len(whole.runs):,} runs of {whole.completed + whole.dead:,} jobs in {seconds:.1f} s by {workers()}: "
        f"{len(whole.runs) / seconds if seconds else 0:,.0f} jobs/s, {best:,} in the busiest second"
    )
    page.line("(the quiet seconds are delays before retries; waiting is counted from when a job was due)")


def workers() -> str:
    return "two workers, one for each store" if len(settings.TASKS) > 1 else "one worker"


def account(line: books.TaskLine) -> list[object]:
    times = [
        f"{books.percentile(values, 0.5):,} / {books.percentile(values, 0.95):,}" if values else "-"
        for values in (line.waits, line.runs)
    ]
    return [line.name, line.pushed, line.completed, line.retries, line.snoozes, line.dead, line.cancelled, *times]


def what_came_of_it(page: Page) -> None:
    page.heading("What came of it")
    mailed = Invoice.objects.exclude(mailed_at=None).count()
    page.line(f"mail         {mailed:,} invoices in {place(settings.MAIL_DIR)}")
    small = Picture.objects.exclude(thumbnail="")
    sizes = small.aggregate(before=Sum("upload_bytes", default=0), after=Sum("thumbnail_bytes", default=0))
    saved = sizes["before"] - sizes["after"]
    page.line(
        f"thumbnails   {small.count()} in {place(settings.MEDIA_ROOT)}: {megabytes(sizes['before'])} became "
        f"{megabytes(sizes['after'])}, {saved / (sizes['before'] or 1):.0%} less"
    )
    page.line(f"report       {place(settings.VAR_DIR / 'report.txt')}")
    page.line(f"sold best    {place(settings.VAR_DIR / 'sales')}, collected, written and mailed by three schedules")
    page.line(f"logs         {place(settings.VAR_DIR / 'worker.log')}, {place(settings.VAR_DIR / 'scheduler.log')}")


def dead_letters(page: Page) -> None:
    page.heading("Dead letters: out of retries or beyond them, kept whole until somebody decides")
    for group in books.dead_groups():
        page.line(f"{group.count:2}  {group.task}, {group.reason}: {group.error}")
        for text in textwrap.wrap(group.example, WIDTH - 4, max_lines=2, placeholder=" …"):
            page.line(f"    {text}")


def what_next(page: Page) -> None:
    page.heading("Look around")
    store, command = AGAIN[settings.STORE]
    page.line(f"make serve{store}")
    page.line(f"    then open http://127.0.0.1:8000/admin/ and log in as {USER}, password {PASSWORD}.")
    page.line("    Correct the price of a dead letter and retry it; to have it run, in another terminal:")
    page.line(f".venv/bin/python example_project/{command}")
    page.line("    The shop's own schedules are on; scheduler_status says when they run, if a scheduler does.")


def place(path: Path | str) -> str:
    """A path as short as it can be said from here."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else str(path)


def megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
