"""`manage.py queue_cancel`: cancel jobs that wait, and ask jobs that run to stop."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_jobqueue.lifecycle.cancelling import Cancellation, cancel_in
from django_jobqueue.management import arguments

_WORDS = {
    Cancellation.CANCELLED: "cancelled, it never runs",
    Cancellation.ASKED: "runs, and was asked to stop",
    Cancellation.NOTHING: "neither waits nor runs",
}


class Command(BaseCommand):
    help = "Cancel jobs. One that waits never runs; one that runs is asked to stop, or with --kill is stopped by force."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ids", nargs="+", type=arguments.job_id, metavar="id", help="Ids of jobs.")
        parser.add_argument("--kill", action="store_true", help="Stop a running job by force.")
        arguments.add_backend(parser)
        arguments.add_json(parser)

    def handle(self, **options: Any) -> None:
        queue = arguments.queue_of(options["backend"])
        done: dict[Cancellation, list[Any]] = {one: [] for one in Cancellation}
        with arguments.answers_from(queue):
            for job_id in options["ids"]:
                answer = cancel_in(queue, job_id, kill=options["kill"])
                done[answer].append(job_id)
                if not options["json"]:
                    self.stdout.write(f"{job_id} {_WORDS[answer]}.")
        if options["json"]:
            self.stdout.write(arguments.as_json({one.name.lower(): ids for one, ids in done.items()}))
        if missing := done[Cancellation.NOTHING]:
            raise CommandError(
                f"{len(missing):,} of {len(options['ids']):,} neither wait nor run in {queue.alias!r}: they are over, "
                f"dead letters, or of another store."
            )
