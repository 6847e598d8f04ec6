"""`manage.py queue_status`: how many jobs are where, and who works."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from django_jobqueue.lifecycle.dead_letters import source_queue
from django_jobqueue.management import arguments
from django_jobqueue.models import WorkerProcess
from django_jobqueue.queues.base import Queue, QueueStats

_WORKER_FIELDS = ("name", "state", "queues", "completed", "failed", "heartbeat_at", "expires_at")


class Command(BaseCommand):
    help = "Show how many jobs each queue holds (ready, delayed, running, dead), and the workers that are alive."

    def add_arguments(self, parser: CommandParser) -> None:
        arguments.add_backend(parser)
        parser.add_argument("--queue", help="Only this queue.")
        arguments.add_json(parser)

    def handle(self, **options: Any) -> None:
        queue = arguments.queue_of(options["backend"])
        arguments.check_queue_name(queue, options["queue"])
        name = options["queue"]
        rows = queue.stats(source_queue(name) if arguments.is_dead_letter_queue(queue, name) else name)
        workers = _workers(queue)
        if options["json"]:
            queues = [row._asdict() for row in rows]
            self.stdout.write(arguments.as_json({"backend": queue.alias, "queues": queues, "workers": workers}))
            return
        self.stdout.write(_queue_table(rows) if rows else "No jobs.")
        self.stdout.write("")
        self.stdout.write(_worker_table(workers) if workers else "No workers. `queue_work` starts one.")


def _workers(queue: Queue) -> list[dict[str, Any]]:
    alive = (WorkerProcess.State.RUNNING, WorkerProcess.State.STOPPING)
    rows = WorkerProcess._default_manager.using(queue.database).filter(state__in=alive).order_by("started_at")
    now = timezone.now()
    # Only a reclaim writes `dead`: until then a silent worker is known by its clock.
    return [dict(row, silent=row["expires_at"] < now) for row in rows.values(*_WORKER_FIELDS)]


def _queue_table(rows: list[QueueStats]) -> str:
    head = ("queue", "ready", "delayed", "running", "dead", "oldest ready")
    return arguments.table(head, [(*row[:5], f"{row.oldest_ready_s:.1f} s" if row.ready else "") for row in rows])


def _worker_table(workers: list[dict[str, Any]]) -> str:
    head = ("worker", "state", "queues", "completed", "failed", "last heartbeat")
    shown = [
        (
            row["name"],
            "silent" if row["silent"] else row["state"],
            row["queues"] or "all",
            row["completed"],
            row["failed"],
            row["heartbeat_at"],
        )
        for row in workers
    ]
    return arguments.table(head, shown)
