"""`manage.py queue_retry`: bring dead letters back."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from django_jobqueue.exceptions import STORE_ERRORS
from django_jobqueue.lifecycle.dead_letters import Revival, letters_of, revive, revive_all
from django_jobqueue.management import arguments
from django_jobqueue.queues.base import Queue


class Command(BaseCommand):
    help = "Bring dead letters back, with all their attempts: those with these ids, or with --all all that match."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ids", nargs="*", type=arguments.job_id, metavar="id", help="See queue_failed.")
        parser.add_argument("--all", action="store_true", help="All that match the options below.")
        arguments.add_backend(parser)
        arguments.add_letter_filters(parser)
        arguments.add_json(parser)

    def handle(self, **options: Any) -> None:
        queue = arguments.queue_of(options["backend"])
        with arguments.answers_from(queue):
            arguments.check_queue_name(queue, options["queue"])
        filters = arguments.letter_filters(options, timezone.now())
        narrowed = any(value is not None for value in filters.values())
        if bool(options["ids"]) == options["all"]:
            raise CommandError("Say which: ids of dead letters, or --all (with --queue, --task, --error … to narrow).")
        if options["ids"] and narrowed:
            raise CommandError("Options that narrow down go with --all, not with ids.")
        try:
            done = self.retry_all(queue, filters) if options["all"] else self.retry_ids(queue, options["ids"])
        except STORE_ERRORS as error:
            raise CommandError(f"{error}. Nothing is lost: what was not brought back is still a dead letter.") from None
        self.report(done, options["json"])

    def retry_ids(self, queue: Queue, ids: list[UUID]) -> Revival:
        known = set(letters_of(queue).filter(pk__in=ids).values_list("pk", flat=True))
        if unknown := [str(one) for one in ids if one not in known]:
            raise CommandError(
                f"Not among the dead letters of {queue.alias!r}: {', '.join(unknown)}. Nothing was retried. "
                f"`queue_failed` lists them; they may have been retried or discarded already."
            )
        return revive(queue, ids)

    def retry_all(self, queue: Queue, filters: dict[str, Any]) -> Revival:
        whole = Revival([], {})
        for done in revive_all(queue, **filters):
            whole.revived.extend(done.revived)
            whole.refused.update(done.refused)
        return whole

    def report(self, done: Revival, as_json: bool) -> None:
        if as_json:
            refused = {str(one): why for one, why in done.refused.items()}
            self.stdout.write(arguments.as_json({"retried": done.revived, "refused": refused}))
            return
        for one, why in done.refused.items():
            self.stderr.write(f"{one} stays dead: {arguments.printable(why)}")
        self.stdout.write(f"{len(done.revived):,} brought back, {len(done.refused):,} refused.")
