"""`manage.py queue_fsck`: is everything where it should be?"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_jobqueue.exceptions import STORE_ERRORS
from django_jobqueue.management import arguments
from django_jobqueue.monitoring.fsck import LATE, PATIENCE, CannotCheck, Report, check
from django_jobqueue.queues.base import Queue

FOUND, COULD_NOT = 1, 2


class Command(BaseCommand):
    help = (
        "Check what is promised of jobs (P1 to P11) on stores that are at work, without stopping anything. "
        "Exit code 0: nothing is wrong; 1: something was found, repaired or not; 2: a store could not be checked."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        arguments.add_backend_or_all(parser)
        parser.add_argument("--repair", action="store_true", help="Mend what needs no decision, and say what was done.")
        parser.add_argument(
            "--late",
            type=arguments.duration,
            metavar="SPAN",
            help=f"How late anything may be before it is a finding (default: {LATE:.0f}s).",
        )
        parser.add_argument(
            "--patience",
            type=arguments.duration,
            metavar="SPAN",
            help=f"Time between the two looks at what seems wrong (default: {PATIENCE:.0f}s).",
        )
        arguments.add_json(parser)

    def handle(self, **options: Any) -> None:
        reports: list[Report] = []
        problems: dict[str, str] = {}
        for queue in arguments.queues_of(options["backend"]):
            try:
                reports.append(_check(queue, options))
            except CannotCheck as error:
                problems[queue.alias] = str(error)
            except STORE_ERRORS as error:
                problems[queue.alias] = arguments.no_answer(queue, error)
        self._print(reports, problems, options["json"])
        if problems:
            raise CommandError(" ".join(problems.values()), returncode=COULD_NOT)
        found = sum(len(report.findings) for report in reports)
        if found:
            raise CommandError(f"{found} kinds of faults." if found > 1 else "One kind of fault.", returncode=FOUND)

    def _print(self, reports: list[Report], problems: dict[str, str], is_json: bool) -> None:
        if is_json:
            stores = [report.as_dict() for report in reports]
            self.stdout.write(arguments.as_json({"stores": stores, "problems": problems}))
        elif reports:
            lines = "\n\n".join(map(str, reports)).split("\n")
            self.stdout.write("\n".join(map(arguments.printable, lines)))


def _check(queue: Queue, options: dict[str, Any]) -> Report:
    late, patience = options["late"], options["patience"]
    return check(
        queue,
        repair=options["repair"],
        late=LATE if late is None else late.total_seconds(),
        patience=PATIENCE if patience is None else patience.total_seconds(),
    )
