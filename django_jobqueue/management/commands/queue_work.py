"""`manage.py queue_work`: run jobs."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from django_jobqueue.management.arguments import add_backend, doubts_about, positive, queue_of
from django_jobqueue.workers.settler import Counters
from django_jobqueue.workers.shutdown import StopSignals, run_with_autoreload
from django_jobqueue.workers.worker import Limits, Worker


class Command(BaseCommand):
    help = "Run jobs until told to stop (SIGTERM or Ctrl-C finish the running job; a second one gives it back)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--queues", default="", help="Comma-separated, in strict order: the first is emptied first. Default: all."
        )
        add_backend(parser)
        end = parser.add_mutually_exclusive_group()
        end.add_argument("--drain", action="store_true", help="Stop when no job is ready.")
        end.add_argument("--once", action="store_true", help="Run one job, if there is one, and stop.")
        parser.add_argument("--max-jobs", type=positive, metavar="N", help="Stop after N jobs.")
        parser.add_argument("--autoreload", action="store_true", help="Restart when code changes. For development.")

    def execute(self, *args: Any, **options: Any) -> str | None:
        if options["autoreload"]:  # which has signal handlers of its own
            return super().execute(*args, **options)
        with StopSignals() as self.signals:  # before the system checks, which take a while
            return super().execute(*args, **options)

    def handle(self, **options: Any) -> None:
        queue = queue_of(options["backend"])
        names = [name.strip() for name in options["queues"].split(",") if name.strip()]
        limits = Limits(
            drain=options["drain"] or options["once"],
            max_jobs=1 if options["once"] else options["max_jobs"],
        )
        for doubt in doubts_about(queue, names):
            self.stderr.write(self.style.WARNING(doubt))
        worker = Worker(queue, names, limits)
        if options["autoreload"]:
            run_with_autoreload(worker)
        else:
            self._say(worker, self.signals.run(worker), options["verbosity"])

    def _say(self, worker: Worker, counters: Counters, verbosity: int) -> None:
        if verbosity > 0:
            done = {move.value: count for move, count in counters.by_move.items() if count}
            words = ", ".join(f"{count} {name}" for name, count in done.items()) or "nothing to do"
            self.stdout.write(f"{worker.identity.name}: {words}")
