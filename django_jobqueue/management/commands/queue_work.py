"""`manage.py queue_work`: run jobs."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_jobqueue.management.arguments import answers_from, doubts_about, names, positive, queue_of
from django_jobqueue.queues.base import Queue
from django_jobqueue.workers.processes import Processes
from django_jobqueue.workers.shutdown import StopSignals, run_with_autoreload
from django_jobqueue.workers.worker import Limits, Worker


class Command(BaseCommand):
    help = (
        "Run jobs until told to stop (SIGTERM or Ctrl-C finish the running job; a second one gives it back). "
        "With several backends each has a process of its own, and the limits are for each."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--queues", default="", help="Comma-separated, in strict order: the first is emptied first. Default: all."
        )
        parser.add_argument(
            "--backend",
            action="extend",
            type=names,
            metavar="ALIAS",
            help="Entry of TASKS (default: default). Several: comma-separated, or the option again.",
        )
        end = parser.add_mutually_exclusive_group()
        end.add_argument("--drain", action="store_true", help="Stop when no job is ready.")
        end.add_argument("--once", action="store_true", help="Run one job, if there is one, and stop.")
        parser.add_argument("--max-jobs", type=positive, metavar="N", help="Stop after N jobs.")
        parser.add_argument("--autoreload", action="store_true", help="Restart when code changes. For development.")

    def execute(self, *args: Any, **options: Any) -> str | None:
        if options["autoreload"]:  # which has signal handlers of its own
            return super().execute(*args, **options)
        self.signals = Processes() if len(_aliases(options)) > 1 else StopSignals()
        with self.signals:  # before the system checks, which take a while
            return super().execute(*args, **options)

    def handle(self, **options: Any) -> None:
        queues = [queue_of(alias) for alias in _aliases(options)]
        chosen = names(options["queues"])
        limits = Limits(
            drain=options["drain"] or options["once"],
            max_jobs=1 if options["once"] else options["max_jobs"],
        )
        for doubt in doubts_about(queues, chosen):
            self.stderr.write(self.style.WARNING(doubt))
        works = {queue.alias: partial(self.work, queue, chosen, limits, options["verbosity"]) for queue in queues}
        if options["autoreload"]:
            run_with_autoreload(Worker(queues[0], chosen, limits))
        elif isinstance(self.signals, StopSignals):
            with answers_from(queues[0]):
                works[queues[0].alias](self.signals)
        elif failed := self.signals.run(works, has_end=limits.has_end):
            raise CommandError(f"Not everything was done: the worker of {', '.join(failed)} failed.")

    def work(self, queue: Queue, chosen: list[str], limits: Limits, verbosity: int, signals: StopSignals) -> None:
        """One worker in this process, to its end."""
        worker = Worker(queue, chosen, limits)
        counters = signals.run(worker)
        if verbosity > 0:
            done = {move.value: count for move, count in counters.by_move.items() if count}
            words = ", ".join(f"{count} {name}" for name, count in done.items()) or "nothing to do"
            where = f" ({queue.alias})" if isinstance(self.signals, Processes) else ""
            self.stdout.write(f"{worker.identity.name}{where}: {words}")


def _aliases(options: dict[str, Any]) -> list[str]:
    given = options["backend"] or ["default"]
    aliases = names(given) if isinstance(given, str) else given  # a string comes from `call_command`
    if repeated := [alias for n, alias in enumerate(aliases) if alias in aliases[:n]]:
        raise CommandError(f"--backend names {repeated[0]!r} twice; for more workers start the command again.")
    if options["autoreload"] and len(aliases) > 1:
        raise CommandError("--autoreload works with one backend at a time.")
    return aliases
