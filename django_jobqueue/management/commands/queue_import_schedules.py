"""`manage.py queue_import_schedules`: take over the schedules of another scheduler."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from django.utils import timezone

from django_jobqueue.exceptions import STORE_ERRORS, InvalidSchedule
from django_jobqueue.management import arguments
from django_jobqueue.scheduling.edits import store_now
from django_jobqueue.scheduling.importers import SOURCES, Origin
from django_jobqueue.scheduling.importers.found import NoSource
from django_jobqueue.scheduling.importers.landing import Landing, Terms, Verdict, examine, write

_HEADS = {
    Verdict.NEW: "becomes",
    Verdict.SAME: "is there already:",
    Verdict.DIFFERENT: "would be",
    Verdict.REFUSED: "left out:",
}


class Command(BaseCommand):
    help = (
        "Take over the schedules of django-celery-beat, django-q2, rq-scheduler or a crontab. Says what would "
        "become of each; with --apply, makes those that are new. Schedules that are there are never changed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from", dest="source", choices=sorted(SOURCES), required=True, help="Whose schedules.")
        parser.add_argument("--apply", action="store_true", help="Write them. Default: only say what would be written.")
        parser.add_argument("--paused", action="store_true", help="Write them paused: nothing runs until resumed.")
        parser.add_argument(
            "--map",
            action="append",
            type=mapping,
            default=[],
            metavar="OLD=NEW",
            help="A task or management command there, and the task here. manage.py=TASK: every command.",
        )
        parser.add_argument("--database", default="default", metavar="ALIAS", help="Where their tables are (default).")
        parser.add_argument("--url", default="", help="The Redis of rq-scheduler, such as redis://localhost:6379/0.")
        parser.add_argument("--file", default="-", metavar="FILE", help="The crontab (default: standard input).")
        parser.add_argument(
            "--timezone",
            default=timezone.get_default_timezone_name(),
            metavar="ZONE",
            help="Of schedules that don't say theirs (default: TIME_ZONE).",
        )
        arguments.add_backend(parser)
        arguments.add_json(parser)

    def handle(self, **options: Any) -> None:
        queue = arguments.queue_of(options["backend"])
        with arguments.answers_from(queue):
            now = store_now(queue.database)
        terms = Terms(now=now, backend=options["backend"], tasks=dict(options["map"]), paused=options["paused"])
        try:
            found = SOURCES[options["source"]](origin(options, terms))
        except NoSource as error:
            raise CommandError(str(error)) from None
        except STORE_ERRORS as error:
            raise CommandError(f"{options['database']!r} can't be read: {arguments.printable(error)}") from None
        with arguments.answers_from(queue):
            landings = examine(found, terms)
            if options["apply"]:
                landings = write(landings, terms)
        written = Counter(one.verdict for one in landings)[Verdict.NEW] if options["apply"] else 0
        if options["json"]:
            self.stdout.write(arguments.as_json({"written": written, "schedules": [as_data(one) for one in landings]}))
            return
        for one in landings:
            self.stdout.write(as_text(one))
        self.stdout.write(summary(landings, written, is_dry=not options["apply"]))


def origin(options: dict[str, Any], terms: Terms) -> Origin:
    try:
        ZoneInfo(options["timezone"])
    except (InvalidSchedule, ValueError, OSError, LookupError):
        raise CommandError(f"--timezone: there is no time zone {options['timezone']!r}; write Europe/Berlin.") from None
    if options["database"] not in connections:
        raise CommandError(f"--database: DATABASES has no {options['database']!r}. It has {', '.join(connections)}.")
    return Origin(
        now=terms.now,
        timezone=options["timezone"],
        database=options["database"],
        url=options["url"],
        lines=lines_of(options["file"]) if options["source"] == "crontab" else (),
    )


def mapping(text: str) -> tuple[str, str]:
    """Two names with `=` between."""
    old, _, new = text.partition("=")
    if not old.strip() or not new.strip():
        raise ArgumentTypeError(f"{text!r} is no OLD=NEW: write clearsessions=shop.tasks.clear_sessions")
    return old.strip(), new.strip()


def lines_of(file: str) -> list[str]:
    try:
        return sys.stdin.read().splitlines() if file == "-" else Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--file: {error}") from None


def as_text(one: Landing) -> str:
    lines = [arguments.printable(one.name)]
    if one.verdict is Verdict.REFUSED:
        lines.append(f"{_HEADS[one.verdict]} {one.why}")
    else:
        following = f", next run {one.next_run:%Y-%m-%d %H:%M:%S %Z}" if one.next_run else ""
        lines.append(f"{_HEADS[one.verdict]} {one.words}{following}")
        lines += [f"but {one.why}"] if one.why else []
    lines += [f"note: {note}" for note in one.notes]
    return "\n    ".join(arguments.printable(line) for line in lines)


def summary(landings: Sequence[Landing], written: int, is_dry: bool) -> str:
    counts = Counter(one.verdict for one in landings)
    there = counts[Verdict.SAME] + counts[Verdict.DIFFERENT]
    made = f"{counts[Verdict.NEW]:,} would be made" if is_dry else f"{written:,} made"
    end = " Nothing was written: add --apply." if is_dry and counts[Verdict.NEW] else ""
    return f"{made}, {there:,} there already, {counts[Verdict.REFUSED]:,} left out.{end}"


def as_data(one: Landing) -> dict[str, Any]:
    return {
        "name": one.name,
        "verdict": one.verdict,
        "becomes": one.words,
        "next_run": one.next_run,
        "why": one.why,
        "notes": list(one.notes),
    }
