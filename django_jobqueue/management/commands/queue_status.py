"""`manage.py queue_status`: how many jobs are where, and who works."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from django_jobqueue.exceptions import STORE_ERRORS
from django_jobqueue.lifecycle.dead_letters import source_queue
from django_jobqueue.management import arguments
from django_jobqueue.models import WorkerProcess
from django_jobqueue.monitoring.scaling import desired_workers
from django_jobqueue.queues.base import Queue, QueueStats

_WORKER_FIELDS = ("name", "state", "queues", "completed", "failed", "heartbeat_at", "expires_at")


class Command(BaseCommand):
    help = "Show how many jobs each queue holds (ready, delayed, running, dead), and the workers that are alive."

    def add_arguments(self, parser: CommandParser) -> None:
        arguments.add_backend_or_all(parser)
        parser.add_argument("--queue", help="Only this queue.")
        arguments.add_json(parser)

    def handle(self, **options: Any) -> None:
        name = options["queue"]
        reports = [report_of(queue, name) for queue in arguments.queues_of(options["backend"])]
        known = {one for report in reports for one in report.known}
        silent = [report.backend for report in reports if report.problem]
        if name is not None and not silent and not arguments.is_known(name, known):
            raise arguments.unknown_queue(name, ", ".join(repr(report.backend) for report in reports), known)
        if options["json"]:
            self.stdout.write(arguments.as_json({"stores": [report.as_dict() for report in reports]}))
        else:
            self.stdout.write("\n\n".join(_text(report, alone=len(reports) == 1) for report in reports))
        if silent:
            raise CommandError(f"No answer from {', '.join(silent)}.")


@dataclass
class Report:
    """One store. `problem` is set when it did not answer."""

    backend: str
    queues: list[QueueStats] = field(default_factory=list)
    workers: list[dict[str, Any]] = field(default_factory=list)
    server: dict[str, Any] = field(default_factory=dict)
    desired_workers: int = 0
    problem: str = ""
    known: set[str] = field(default_factory=set)

    def as_dict(self) -> dict[str, Any]:
        return {
            "backend": self.backend,
            "queues": [row._asdict() for row in self.queues],
            "workers": self.workers,
            "server": self.server,
            "desired_workers": self.desired_workers,
            "problem": self.problem,
        }


def report_of(queue: Queue, name: str | None) -> Report:
    report = Report(queue.alias)
    try:
        report.known = arguments.known_queues(queue)
        is_dead = arguments.is_dead_letter_queue(queue, name)
        report.queues = queue.stats(source_queue(name) if is_dead and name else name)
        report.workers = _workers(queue)
        report.server = queue.server()
        report.desired_workers = desired_workers(queue, name)
    except STORE_ERRORS as error:
        report.problem = arguments.no_answer(queue, error)
    return report


def _text(report: Report, alone: bool) -> str:
    if report.problem:
        return report.problem
    jobs = _queue_table(report.queues) if report.queues else "No jobs."
    workers = _worker_table(report.workers) if report.workers else "No workers. `queue_work` starts one."
    server = [_server_line(report.server)] if report.server else []
    return "\n".join([*([] if alone else [f"{report.backend}:"]), jobs, "", workers, *server])


def _server_line(server: dict[str, Any]) -> str:
    most = filesizeformat(server["max_memory"]) if server["max_memory"] else "no limit"
    return (
        f"\n{server['kind'].capitalize()} {server['version']}, {server['role']}; persistence {server['persistence']}; "
        f"memory {filesizeformat(server['used_memory'])}, {most}; {server['pool_in_use']} of {server['pool_max']} "
        f"connections in use; answers in {server['latency_ms']:.1f} ms"
    )


def _workers(queue: Queue) -> list[dict[str, Any]]:
    alive = WorkerProcess._default_manager.using(queue.database).filter(state__in=WorkerProcess.ALIVE)
    rows = alive.filter(store=queue.store).order_by("started_at")
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
