"""`manage.py demo`: the whole shop once, from an empty queue to books that add up."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from shop.demo import books, show, stage, worker


class Command(BaseCommand):
    help = "Reset the example's data, enqueue everything, run a worker until nothing waits, and say what happened."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--patience", type=float, default=180, metavar="SECONDS", help="Give up after (180).")

    def handle(self, **options: Any) -> None:
        page, facts = show.Page(self.stdout, self.style), books.expected()
        stage.reset()
        stage.open_shop()
        show.beginning(page, facts, stage.enqueue_everything(["GBP", "USD", "CHF"]))
        stage.schedule_a_few()
        try:
            self.run(page, facts, options["patience"])
        finally:
            stage.go_on_as_usual()
        show.what_next(page)

    def run(self, page: show.Page, facts: dict[str, Any], patience: float) -> None:
        try:
            worker.work_until_nothing_waits(page.progress, patience)
        except worker.WorkerTrouble as trouble:
            raise CommandError(str(trouble)) from None
        finally:
            page.progress("")
        lines = books.accounts(facts)
        checks = list(books.checks(facts, lines))
        show.summary(page, lines, checks)
        if not all(check.holds for check in checks):
            raise CommandError("The books don't add up.")
