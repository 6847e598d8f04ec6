"""`manage.py queue_clear`: remove jobs that wait."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_jobqueue.lifecycle.dead_letters import discard_all
from django_jobqueue.management import arguments
from django_jobqueue.queues.base import Queue


class Command(BaseCommand):
    help = (
        "Remove every job that waits (ready or delayed) in one queue or in all; running jobs finish. "
        "With the name of a dead letter queue (emails.dlq): discard its letters."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        arguments.add_backend(parser)
        parser.add_argument("--queue", help="Only this queue. Default: all of them, dead letters excepted.")
        parser.add_argument("--no-input", "--noinput", action="store_false", dest="interactive", help="Don't ask.")
        arguments.add_json(parser)

    def handle(self, **options: Any) -> None:
        queue = arguments.queue_of(options["backend"])
        name = options["queue"]
        with arguments.answers_from(queue):
            arguments.check_queue_name(queue, name)
            dead = arguments.is_dead_letter_queue(queue, name)
        if options["interactive"]:
            self.ask(queue, name, dead)
        with arguments.answers_from(queue):
            removed = discard_all(queue, queue=name) if dead else queue.clear(name)
        verb = "discarded" if dead else "removed"
        self.stdout.write(arguments.as_json({verb: removed}) if options["json"] else f"{removed:,} {verb}.")

    def ask(self, queue: Queue, name: str | None, dead: bool) -> None:
        where = f"the queue {name!r}" if name else "ALL queues"
        what = "discard every dead letter of" if dead else "remove every waiting job of"
        answer = input(f"This will {what} {where} in {queue.alias!r}. It can't be undone. Type 'yes' to go on: ")
        if answer.strip().lower() != "yes":
            raise CommandError("Nothing was done.")
