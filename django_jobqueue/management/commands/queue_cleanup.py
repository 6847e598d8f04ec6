"""`manage.py queue_cleanup`: throw away old history, and what else is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from django_jobqueue.lifecycle.cleanup import BATCH, prune_dead_letters, prune_history, prune_workers
from django_jobqueue.management import arguments
from django_jobqueue.queues.base import Queue


class Command(BaseCommand):
    help = (
        "Delete history older than a span, and workers that have been gone for a day. Dead letters only when asked. "
        "Of one entry of TASKS, or of all."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than", type=arguments.duration, required=True, metavar="SPAN", help="Such as 7d, 36h or 90m."
        )
        parser.add_argument("--dead-letters", action="store_true", help="Delete dead letters that old as well.")
        parser.add_argument(
            "--batch", type=arguments.positive, default=BATCH, metavar="N", help=f"Rows per transaction ({BATCH})."
        )
        arguments.add_backend_or_all(parser)
        arguments.add_json(parser)

    def handle(self, **options: Any) -> None:
        span, batch = options["older_than"], options["batch"]
        removed: Counter[str] = Counter()
        for using, store in places(arguments.queues_of(options["backend"]), one=options["backend"] is not None):
            removed["history"] += prune_history(using, span, batch, store)
            removed["workers"] += prune_workers(using, batch=batch, store=store)
            if options["dead_letters"]:
                removed["dead_letters"] += prune_dead_letters(using, span, batch, store)
        if options["json"]:
            self.stdout.write(arguments.as_json({"deleted": removed}))
            return
        words = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in removed.items())
        self.stdout.write(f"Deleted: {words}.")


def places(queues: Iterable[Queue], one: bool) -> set[tuple[str, str | None]]:
    """Databases, and which store's rows there: all of them, also of entries that are gone, when all are meant."""
    return {(queue.database, queue.store if one else None) for queue in queues}
