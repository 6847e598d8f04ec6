"""`manage.py queue_token`: make a token for workers, or ask whether the one that is set will do."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_jobqueue.exceptions import WorkerNotAllowed
from django_jobqueue.management import arguments
from django_jobqueue.workers import tokens


class Command(BaseCommand):
    help = "Make a new token for workers: the token is for them, its hash for JOBQUEUE['WORKER_TOKENS']."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="Make none: say whether a worker of this environment is admitted."
        )
        parser.add_argument("--queues", default="", help="With --check: of these queues, comma-separated.")
        arguments.add_json(parser)

    def handle(self, **options: Any) -> None:
        if options["check"]:
            self._check(arguments.names(options["queues"]), options["json"])
            return
        token = tokens.new_token()
        if options["json"]:
            self.stdout.write(arguments.as_json({"token": token, "hash": tokens.token_hash(token)}))
            return
        self.stdout.write(f"Token, for workers ({tokens.TOKEN} or {tokens.TOKEN_FILE}); it is shown once:\n{token}")
        self.stdout.write(f"Hash, for JOBQUEUE['WORKER_TOKENS']:\n{tokens.token_hash(token)}")

    def _check(self, queues: list[str], is_json: bool) -> None:
        problem = ""
        try:
            tokens.admit(queues)
        except WorkerNotAllowed as error:
            problem = str(error)
        if is_json:
            self.stdout.write(arguments.as_json({"is_admitted": not problem, "problem": problem}))
        elif not problem:
            self.stdout.write("Admitted.")
        if problem:
            raise CommandError(f"Not admitted: {problem}.")
