"""`manage.py scheduler_status`: what is next, what became of the last, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError

from django_jobqueue.management import arguments
from django_jobqueue.monitoring.schedules import LATE, LIMIT, Line, Report, report_of
from django_jobqueue.scheduling.running import databases_of

WRONG, COULD_NOT = 1, 2


class Command(BaseCommand):
    help = (
        "Show schedules with their next run and what became of the last one, chores, and the schedulers that are "
        "alive. Exit code 0: nothing is wrong; 1: something is; 2: a database could not be asked."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        arguments.add_backend_or_all(parser)
        parser.add_argument(
            "--late",
            type=arguments.duration,
            default=LATE,
            metavar="SPAN",
            help=f"How late a tick may be before that is wrong (default: {LATE.seconds}s).",
        )
        parser.add_argument(
            "--limit", type=arguments.positive, default=LIMIT, metavar="N", help=f"Schedules to show ({LIMIT})."
        )
        arguments.add_json(parser)

    def handle(self, **options: Any) -> None:
        reports: list[Report] = []
        silent: dict[str, str] = {}
        for database in databases_of(arguments.queues_of(options["backend"])):
            try:
                reports.append(report_of(database, options["late"], options["limit"]))
            except (DatabaseError, InterfaceError) as error:
                silent[database] = f"The database {database!r} is out of reach: {arguments.printable(error)}"
        if options["json"]:
            self.stdout.write(arguments.as_json({"databases": reports, "problems": silent}))
        else:
            self.stdout.write("\n\n".join(map(_text, reports)))
        if silent:
            raise CommandError(" ".join(silent.values()), returncode=COULD_NOT)
        if wrong := sum(len(report.problems) for report in reports):
            raise CommandError(f"{wrong} problems." if wrong > 1 else "One problem.", returncode=WRONG)


def _text(report: Report) -> str:
    parts = [_summary(report)]
    if report.schedulers:
        parts.append(_schedulers(report.schedulers))
    if report.schedules:
        parts.append(_table("schedule", report.schedules, has_job=True))
    if report.chores:
        parts.append(_table("chore", report.chores, has_job=False))
    if report.problems:
        parts.append("\n".join(["Wrong:", *(f"- {arguments.printable(one)}" for one in report.problems)]))
    return "\n\n".join(parts)


def _summary(report: Report) -> str:
    counts = report.counts
    shown = f", {len(report.schedules)} shown" if len(report.schedules) < counts["schedules"] else ""
    schedules = f"{_many(counts['schedules'], 'schedule')} ({counts['paused']:,} paused{shown})"
    clock = f"It is {report.now:%Y-%m-%d %H:%M:%S %Z}".rstrip()
    late = f", and what is latest is {report.late_s:,.0f} s late" if report.late_s >= 1 else ""
    alive = _many(len(report.schedulers), "scheduler")
    return f"{report.database}: {alive}, {schedules}, {_many(counts['chores'], 'chore')}. {clock}{late}."


def _many(count: int, word: str) -> str:
    return f"{f'{count:,}' if count else 'no'} {word}{'' if count == 1 else 's'}"


def _schedulers(rows: Sequence[dict[str, Any]]) -> str:
    names = ("name", "started_at", "heartbeat_at", "dispatched", "failed")
    head = ("scheduler", "since", "last heartbeat", "dispatched", "failed")
    return arguments.table(head, [[row[name] for name in names] for row in rows])


def _table(what: str, lines: Sequence[Line], has_job: bool) -> str:
    """`last job` is what became of the job of the last run."""
    head = (what, "when", "state", "next run", "last run", *(["last job"] if has_job else []))
    rows = [
        (one.name.removeprefix("chore:"), one.schedule, one.state, one.next_run_at, one.last_run_at)
        + ((one.last_job,) if has_job else ())
        for one in lines
    ]
    return arguments.table(head, rows)
