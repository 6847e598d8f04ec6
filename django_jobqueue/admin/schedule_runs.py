"""What became of a schedule's last ticks: their job ids are computed, so one look at each table tells it for a page."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from math import log1p
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from django_jobqueue.admin import widgets
from django_jobqueue.admin.live import live_url
from django_jobqueue.admin.pages import page_url
from django_jobqueue.admin.robust import UNREADABLE
from django_jobqueue.admin.schedule_preview import aware
from django_jobqueue.admin.stores import store_called
from django_jobqueue.compat import as_django_tells_it
from django_jobqueue.exceptions import STORE_ERRORS, InvalidSchedule
from django_jobqueue.jobs.schedule import Schedule, schedule_of
from django_jobqueue.jobs.status import JobStatus
from django_jobqueue.models import DeadLetterJob, Job, JobHistory, JobLock, RecurringJob
from django_jobqueue.queues.base import Queue
from django_jobqueue.scheduling.breaker import Silence
from django_jobqueue.scheduling.ticks import tick_id

TICKS = 20
_STEP, _HEIGHT, _LEAST = 6, 22, 4
_ALL_ALIKE = 0.4
"""How tall, of the tallest, runs are that took no time, all of them."""

_WORDS = {
    "completed": (_("completed"), "good"),
    "dead": (_("dead letter"), "bad"),
    "failed": (_("failed for good"), "bad"),
    "discarded": (_("discarded"), "bad"),
    "cancelled": (_("cancelled"), "mute"),
    "retrying": (_("failed, will be retried"), "warn"),
    "snoozed": (_("snoozed"), "info"),
    "lost": (_("worker lost"), "warn"),
    "running": (_("running"), "info"),
    "waits": (_("waits"), "info"),
    "silent": (_("its store does not answer"), "mute"),
    "": (_("no record"), "none"),
}
_ENDS = ("dead", *JobHistory.FINAL)
_UNTIMED = ("running", "waits", "silent", "")
_silence = Silence()


def _label(outcome: str) -> Any:
    return _WORDS[outcome][0] if outcome in _WORDS else widgets.cut(outcome, 20)


@dataclass
class Run:
    """One tick (None: started by hand) and what its job came to. An empty outcome: no table knows the job."""

    tick: datetime | None
    job_id: UUID
    outcome: str = ""
    run_ms: Any = 0
    finished_at: Any = None
    place: Callable[[], str] | None = None
    """Gives the page of what tells of it: a list makes a thousand runs, and few links."""

    def lives(self, is_running: bool, place: Callable[[], str]) -> None:
        """What it came to before is told on, unless it runs once more."""
        self.outcome = "running" if is_running else self.outcome or "waits"
        self.place = place

    @property
    def url(self) -> str:
        return self.place() if self.place else ""

    @property
    def label(self) -> Any:
        return _label(self.outcome)

    @property
    def tone(self) -> str:
        return _WORDS.get(self.outcome, ("", "mute"))[1]

    @property
    def badge(self) -> SafeString:
        return widgets.badge("", self.label, self.tone)


def schedule_in(row: RecurringJob) -> Schedule | None:
    """The schedule of a row that may hold anything. None: it can't be read."""
    try:
        return schedule_of(row.kind, row.expression, row.timezone)
    except (InvalidSchedule, *UNREADABLE):
        return None


def last_runs(using: str, rows: Sequence[RecurringJob]) -> dict[Any, list[Run]]:
    """The last runs of each row by its key, the latest last.

    Three queries, however many rows there are, and one question to each other store their jobs go to.
    """
    runs = {row.pk: _ticks_of(row) for row in rows if row.source != RecurringJob.Source.CHORE}
    _look_up(using, [run for found in runs.values() for run in found])
    by_store: dict[str, list[Run]] = defaultdict(list)
    for row in rows:
        by_store[row.backend] += [run for run in runs.get(row.pk, []) if run.outcome not in _ENDS]
    for alias, open_runs in by_store.items():
        _ask(alias, open_runs)
    return runs


def _ticks_of(row: RecurringJob) -> list[Run]:
    found: list[Run] = []
    schedule = schedule_in(row)
    try:
        starts_at = row.starts_at and aware(row.starts_at)
        tick = schedule.last_until(aware(row.last_run_at)) if schedule and row.last_run_at else None
        while schedule and tick and len(found) < TICKS and not (starts_at and tick < starts_at):
            found.append(Run(as_django_tells_it(tick), tick_id(row.name, tick)))
            tick = schedule.last_until(tick - datetime.resolution)
    except (InvalidSchedule, *UNREADABLE):  # a date without a zone, or one from before the calendar
        pass
    if row.last_job_id and row.last_job_id not in {run.job_id for run in found}:
        found = [Run(None, row.last_job_id), *found[: TICKS - 1]]
    return found[::-1]


def _look_up(using: str, runs: Sequence[Run]) -> None:
    by_id = {run.job_id: run for run in runs}
    if not by_id:
        return
    ids = list(by_id)
    for pk, job_id, outcome, run_ms, finished_at in _history(using, ids):
        run = by_id[job_id]
        run.outcome, run.run_ms, run.finished_at = outcome, run_ms, finished_at
        run.place = partial(page_url, JobHistory, pk)
    for job_id in DeadLetterJob._default_manager.using(using).filter(pk__in=ids).values_list("pk", flat=True):
        by_id[job_id].outcome, by_id[job_id].place = "dead", partial(page_url, DeadLetterJob, job_id)
    leases = JobLock._default_manager.using(using).filter(pk=OuterRef("pk"), name="")
    live = Job._default_manager.using(using).filter(pk__in=ids).annotate(is_leased=Exists(leases))
    for job_id, is_leased in live.values_list("pk", "is_leased"):
        by_id[job_id].lives(is_leased, partial(page_url, Job, job_id))


def _ask(alias: str, runs: Sequence[Run]) -> None:
    """The store where these are, if that is not the database: one question. One that was silent is left alone a while.

    The page is made in any case; it waits for such a store once, as long as its timeout says.
    """
    queue = store_called(alias) if runs else None
    if queue is None or not queue.store:
        return
    by_id = {run.job_id: run for run in runs}
    living = None if _silence.of(alias) else _living(queue, list(by_id))
    if living is None:
        for run in runs:
            run.outcome = run.outcome or "silent"
        return
    for job_id, status in living.items():
        by_id[job_id].lives(status is JobStatus.PROCESSING, partial(live_url, queue, job_id))


def _living(queue: Queue, job_ids: Sequence[UUID]) -> Mapping[UUID, JobStatus] | None:
    began = time.monotonic()
    try:
        return queue.statuses(*job_ids)
    except STORE_ERRORS as error:
        _silence.note(queue.alias, str(error), time.monotonic() - began)
        return None


def _history(using: str, ids: list[UUID]) -> list[tuple[Any, ...]]:
    """The executions of these jobs, each job's latest last."""
    rows = JobHistory._default_manager.using(using).filter(job_id__in=ids).order_by("lease_no")
    try:
        return list(rows.values_list("pk", "job_id", "outcome", "run_ms", "finished_at"))
    except UNREADABLE:
        return [(*row, None) for row in rows.values_list("pk", "job_id", "outcome", "run_ms")]


# -- how it looks ------------------------------------------------------------------------------------------------------


def sparkline(runs: Sequence[Run]) -> SafeString | str:
    """A bar for each run, as tall as it was long, in the colour of what it came to."""
    if not any(run.outcome for run in runs):
        return ""
    longest = max((widgets.number(run.run_ms) or 0 for run in runs), default=0)
    first = TICKS - len(runs)  # the latest stands at the right, in every row
    labels = {outcome: str(words) for outcome, (words, _tone) in _WORDS.items()}  # translated once, not once a bar
    # A page has a thousand bars, and format_html takes longer than all the rest of them: only the title is text.
    bars = "".join(
        f'<rect class="jq-{run.tone}" x="{(first + place) * _STEP}" y="{_HEIGHT - height}" width="4" height="{height}" '
        f'rx="1"><title>{escape(_told(run, labels))}</title></rect>'
        for place, (run, height) in enumerate((run, _height(run, longest)) for run in runs)
    )
    head = '<svg class="jq-spark" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    return format_html(head, TICKS * _STEP, _HEIGHT, summary(runs), mark_safe(bars))


def _height(run: Run, longest: float) -> int:
    if not run.outcome:
        return 2
    value = widgets.number(run.run_ms) or 0
    share = log1p(max(value, 0)) / log1p(longest) if longest > 0 else _ALL_ALIKE
    return _LEAST + round((_HEIGHT - _LEAST) * share)


def _told(run: Run, labels: Mapping[str, str]) -> str:
    when = widgets.clock(run.tick) if run.tick else _t("by hand")
    ran = "" if run.outcome in _UNTIMED else f", {widgets.duration(run.run_ms)}"
    return f"{when}: {labels.get(run.outcome, run.label)}{ran}"


def summary(runs: Sequence[Run]) -> str:
    """`last 20 runs: 18 completed, 2 dead letter`"""
    counts = Counter(run.outcome for run in runs)
    words = ", ".join(f"{count} {_label(outcome)}" for outcome, count in counts.items())
    told = ngettext("last run: %(words)s", "last %(count)s runs: %(words)s", len(runs))
    return told % {"count": len(runs), "words": words}


def outcome_of(run: Run | None) -> SafeString | str:
    """The last run in the list: what it came to, and when."""
    if run is None or not (run.outcome or run.tick):
        return "—"
    text = widgets.ago(run.finished_at or run.tick)
    body = format_html('{}<span class="jq-reason">{}</span>', run.badge if run.outcome else "", text)
    if not run.url:
        return format_html('<span class="jq-outcome">{}</span>', body)
    return format_html('<a class="jq-outcome" href="{}">{}</a>', run.url, body)
