"""`manage.py queue_failed`: read the dead letters."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from django_jobqueue.lifecycle.dead_letters import LetterGroup, letters_of, statistics
from django_jobqueue.management import arguments
from django_jobqueue.models import DeadLetterJob
from django_jobqueue.queues.base import Queue

_BRIEF = ("id", "queue", "task", "reason", "error_class", "error_message", "attempt", "times_retried", "failed_at")


class Command(BaseCommand):
    help = "List dead letters, the latest first; with an id, show one whole; with --group, count those that died alike."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", nargs="?", type=arguments.job_id, help="Show this one with arguments and traceback.")
        arguments.add_backend(parser)
        arguments.add_letter_filters(parser)
        parser.add_argument("--group", action="store_true", help="Count by queue, task, error and reason.")
        parser.add_argument("--limit", type=arguments.positive, default=20, metavar="N", help="At most N (20).")
        arguments.add_json(parser)

    def handle(self, **options: Any) -> None:
        queue = arguments.queue_of(options["backend"])
        with arguments.answers_from(queue):
            arguments.check_queue_name(queue, options["queue"])
        filters = arguments.letter_filters(options, timezone.now())
        if options["id"] is not None:
            self.show_one(queue, options["id"], options["json"])
        elif options["group"]:
            groups = statistics(queue.database, store=queue.store, **filters)
            self.show_groups(groups[: options["limit"]], options["json"])
        else:
            letters = letters_of(queue, **filters).only(*_BRIEF).order_by("-failed_at")
            self.show_list(list(letters[: options["limit"]]), options["json"])

    def show_one(self, queue: Queue, letter_id: UUID, as_json: bool) -> None:
        letter = letters_of(queue).filter(pk=letter_id).first()
        if letter is None:
            raise CommandError(f"{letter_id} is no dead letter of {queue.alias!r}. `queue_failed` lists them.")
        fields = {"id": letter.id, **{name: getattr(letter, name) for name in _field_names()}}
        if as_json:
            self.stdout.write(arguments.as_json(fields))
            return
        text = fields.pop("traceback")
        for name, value in fields.items():
            if value not in (None, ""):
                self.stdout.write(f"{name:16} {arguments.printable(value)}")
        self.stdout.write("\n".join(["", *(arguments.printable(line) for line in text.splitlines())]))

    def show_groups(self, groups: list[LetterGroup], as_json: bool) -> None:
        if as_json:
            self.stdout.write(arguments.as_json(groups))
        elif not groups:
            self.stdout.write("No dead letters.")
        else:
            head = ("queue", "task", "error", "reason", "count", "first", "last")
            self.stdout.write(arguments.table(head, map(astuple, groups)))

    def show_list(self, letters: list[DeadLetterJob], as_json: bool) -> None:
        rows = [{name: getattr(letter, name) for name in _BRIEF} for letter in letters]
        if as_json:
            self.stdout.write(arguments.as_json(rows))
        elif not rows:
            self.stdout.write("No dead letters.")
        else:
            head = ("id", "queue", "task", "reason", "error", "died")
            shown = [(r["id"], r["queue"], r["task"], r["reason"], _error(r), r["failed_at"]) for r in rows]
            self.stdout.write(arguments.table(head, shown))


def _field_names() -> list[str]:
    return [field.attname for field in DeadLetterJob._meta.concrete_fields if not field.primary_key]


def _error(row: dict[str, Any]) -> str:
    return f"{row['error_class'].rpartition('.')[2]}: {row['error_message'][:60]}" if row["error_class"] else ""
