"""`manage.py scheduler_run`: turn schedules into jobs."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from django_jobqueue.management.arguments import add_backend_or_all, answers_from, queues_of
from django_jobqueue.management.patient import PatientCommand
from django_jobqueue.scheduling.running import Until, databases_of, scheduler_of


class Command(PatientCommand):
    help = (
        "Push the jobs of schedules when they are due, until told to stop (SIGTERM or Ctrl-C). May run any number of "
        "times, here and on other hosts: each tick becomes one job."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_backend_or_all(parser)
        parser.add_argument("--once", action="store_true", help="Do what is due now, and stop.")

    def execute(self, *args: Any, **options: Any) -> str | None:
        with Until() as self.until:  # before the system checks, which take a while
            return super().execute(*args, **options)

    def handle(self, **options: Any) -> None:
        queues = queues_of(options["backend"])
        schedulers = [scheduler_of(database) for database in databases_of(queues)]
        if options["once"]:
            with answers_from(queues[0]):
                self.until.drain(schedulers)
        else:
            if self.stdout.isatty() and options["verbosity"] > 0:  # somebody looks, and may wait for a word for long
                served = ", ".join(one.database for one in schedulers)
                self.stdout.write(f"Serving the schedules in {served}. Ctrl-C stops it; scheduler_status tells more.")
            self.until.run(schedulers)
        if options["verbosity"] > 0:
            for one in schedulers:
                self.stdout.write(f"{one.database}: {one.dispatched} dispatched, {one.failed} failed")
