"""`manage.py queue_work`: run jobs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import connections

from django_jobqueue.conf import conf
from django_jobqueue.exceptions import WorkerNotAllowed
from django_jobqueue.lifecycle.policy import worker_policy
from django_jobqueue.management.arguments import (
    address,
    answers_from,
    bounds,
    doubts_about,
    duration,
    kibibytes,
    names,
    positive,
    queue_of,
    seconds,
    weighed,
    whole,
)
from django_jobqueue.management.patient import PatientCommand
from django_jobqueue.queues.base import Queue
from django_jobqueue.scheduling.running import databases_of, scheduler_thread
from django_jobqueue.workers import child
from django_jobqueue.workers.autoscale import Autoscaler
from django_jobqueue.workers.background import Companion, beside
from django_jobqueue.workers.board import Seat
from django_jobqueue.workers.health import Asked, check, health_of_worker, told
from django_jobqueue.workers.membership import SeatedMembership
from django_jobqueue.workers.orders import run_alone
from django_jobqueue.workers.settler import Counters
from django_jobqueue.workers.shutdown import StopSignals, end_quickly, run_with_autoreload
from django_jobqueue.workers.slots import Slots
from django_jobqueue.workers.supervisor import Station, Supervisor
from django_jobqueue.workers.tokens import admit
from django_jobqueue.workers.worker import Limits, Worker

Chosen = Mapping[str, int | None]
"""The queues that were asked for, and their weights."""
_PER_CHILD = ("max_jobs_per_child", "max_memory_per_child", "max_lifetime")


class Command(PatientCommand):
    help = (
        "Run jobs until told to stop (SIGTERM or Ctrl-C finish the running jobs; a second one gives them back). "
        "A parent with child processes; SIGUSR1 makes them quiet, SIGUSR2 lets them go on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--queues",
            default="",
            help="Comma-separated, in strict order: the first is emptied first. With weights, emails:3,billing:1, by "
            "turns. Default: all.",
        )
        parser.add_argument(
            "--backend",
            action="extend",
            type=names,
            metavar="ALIAS",
            help="Entry of TASKS (default: default). Several: comma-separated, or the option again.",
        )
        parser.add_argument(
            "--processes",
            type=whole,
            metavar="N",
            help="Child processes for each backend. 0: none, run jobs in this process. Default: one for each core, "
            "1 on SQLite, 0 with --drain, --once, --max-jobs or --autoreload.",
        )
        parser.add_argument(
            "--autoscale", type=bounds, metavar="MIN,MAX", help="As many child processes as it takes, within bounds."
        )
        at_once = parser.add_mutually_exclusive_group()
        at_once.add_argument("--threads", type=positive, metavar="N", help="Jobs at once in each process, in threads.")
        at_once.add_argument(
            "--concurrency",
            type=positive,
            metavar="N",
            help="Jobs at once in each process; those of async tasks share an event loop, the others are in threads.",
        )
        end = parser.add_mutually_exclusive_group()
        end.add_argument("--drain", action="store_true", help="Stop when no job is ready.")
        end.add_argument("--once", action="store_true", help="Run one job, if there is one, and stop.")
        parser.add_argument("--max-jobs", type=positive, metavar="N", help="Stop after N jobs.")
        parser.add_argument("--grace", type=seconds, metavar="S", help="Instead of SHUTDOWN_GRACE, in seconds.")
        parser.add_argument("--max-jobs-per-child", type=positive, metavar="N", help="Replace a child after N jobs.")
        parser.add_argument(
            "--max-memory-per-child", type=kibibytes, metavar="SIZE", help="Replace a child that holds more: 512M, 2G."
        )
        parser.add_argument("--max-lifetime", type=duration, metavar="SPAN", help="Replace a child after 12h, 7d.")
        parser.add_argument("--health-file", type=Path, metavar="PATH", help="Write there each second how it goes.")
        parser.add_argument(
            "--health-port", type=address, metavar="PORT", help="Answer GET /livez and /readyz there; or HOST:PORT."
        )
        scheduler = parser.add_mutually_exclusive_group()
        scheduler.add_argument(
            "--with-scheduler",
            action="store_true",
            dest="scheduler",
            default=None,
            help="Turn schedules into jobs, too. Default: on SQLite, unless there is an end (--drain and the like).",
        )
        scheduler.add_argument("--no-scheduler", action="store_false", dest="scheduler", help="Run jobs, and no more.")
        parser.add_argument("--autoreload", action="store_true", help="Restart when code changes. For development.")

    def execute(self, *args: Any, **options: Any) -> str | None:
        is_supervised = _is_supervised(options)
        end_quickly()
        if options["autoreload"]:  # which has signal handlers of its own
            return super().execute(*args, **options)
        self.signals = (Supervisor if is_supervised else StopSignals)(options["grace"])
        with self.signals:  # before the system checks, which take a while
            return super().execute(*args, **options)

    def handle(self, **options: Any) -> None:
        queues = [queue_of(alias) for alias in _aliases(options)]
        chosen, limits = weighed(options["queues"]), _limits(options)
        _admit(list(chosen))
        asked, companions = _asked(options), _schedulers(queues, options)
        for doubt in doubts_about(queues, chosen):
            self.stderr.write(self.style.WARNING(doubt))
        if options["autoreload"]:
            run_with_autoreload(_worker(queues[0], chosen, limits, options), companions)
        elif isinstance(self.signals, StopSignals):
            with answers_from(queues[0]):
                worker = _worker(queues[0], chosen, limits, options)
                with told(partial(health_of_worker, worker), asked), beside(companions):
                    counters = run_alone(worker, self.signals)
                self.sum_up(worker, counters, options["verbosity"])
        else:
            stations = [self.station(queue, chosen, options) for queue in queues]
            if failed := self.signals.run(stations, limits.has_end, asked, companions):
                raise CommandError(f"Not everything was done: the worker of {', '.join(failed)} failed.")

    def station(self, queue: Queue, chosen: Chosen, options: dict[str, Any]) -> Station:
        work = partial(self.work, queue, chosen, options)
        if options["autoscale"] is None:
            return Station(queue, work, _children(queue, options))
        least, most = options["autoscale"]
        return Station(queue, work, least, Autoscaler(least, most, conf().AUTOSCALE_TARGET))

    def work(self, queue: Queue, chosen: Chosen, options: dict[str, Any], signals: StopSignals, seat: Seat) -> None:
        """One worker in a child process, to its end."""
        membership = SeatedMembership(queue, tuple(chosen), seat)
        limits = _limits(options, is_child=True)
        seated = {"membership": membership, "watch": seat.watch, "hand": seat.slot.hand}
        worker = _worker(queue, chosen, limits, options, **seated)
        memory_mb, lifetime = worker_policy(list(chosen)).memory_mb, options["max_lifetime"]
        most = child.ChildLimits(
            options["max_memory_per_child"] or (memory_mb and memory_mb * 1_024),
            lifetime and lifetime.total_seconds(),
        )
        counters = child.run(worker, seat, signals, most)
        self.sum_up(worker, counters, options["verbosity"], f" ({queue.alias})")

    def sum_up(self, worker: Worker, counters: Counters, verbosity: int, where: str = "") -> None:
        if verbosity > 0:
            done = {move.value: count for move, count in counters.by_move.items() if count}
            words = ", ".join(f"{count} {name}" for name, count in done.items()) or "nothing to do"
            self.stdout.write(f"{worker.identity.name}{where}: {words}")


def _admit(chosen: list[str]) -> None:
    """Before anything is started; each registration asks again."""
    try:
        admit(chosen)
    except WorkerNotAllowed as error:
        raise CommandError(f"This worker is not admitted: {error}.") from None


def _asked(options: dict[str, Any]) -> Asked:
    """What probes there are. CommandError for those that can't be served."""
    file = options["health_file"]
    asked = Asked(file and Path(file).absolute(), options["health_port"])  # a job may change the directory
    try:
        check(asked)
    except OSError as error:
        raise CommandError(f"--health-file or --health-port: {error.strerror or error}.") from None
    return asked


def _schedulers(queues: Sequence[Queue], options: dict[str, Any]) -> list[Callable[[], Companion]]:
    """What runs beside the workers: a scheduler for each of their databases, or of those that are SQLite files."""
    wanted = options["scheduler"]
    embedded = [queue for queue in queues if _is_sqlite(queue) and not _limits(options).has_end]
    chosen = {True: queues, False: (), None: embedded}[wanted]
    return [partial(scheduler_thread, database) for database in databases_of(chosen)]


def _aliases(options: dict[str, Any]) -> list[str]:
    given = options["backend"] or ["default"]
    aliases = names(given) if isinstance(given, str) else given  # a string comes from `call_command`
    if repeated := [alias for n, alias in enumerate(aliases) if alias in aliases[:n]]:
        raise CommandError(f"--backend names {repeated[0]!r} twice; for more workers use --processes.")
    if options["autoreload"] and len(aliases) > 1:
        raise CommandError("--autoreload works with one backend at a time.")
    return aliases


def _limits(options: dict[str, Any], is_child: bool = False) -> Limits:
    most = 1 if options["once"] else options["max_jobs"]
    return Limits(
        drain=options["drain"] or options["once"],
        max_jobs=most or (options["max_jobs_per_child"] if is_child else None),
        grace=options["grace"],
    )


def _worker(queue: Queue, chosen: Chosen, limits: Limits, options: dict[str, Any], **more: Any) -> Worker:
    weights = {name: weight for name, weight in chosen.items() if weight is not None}
    return Worker(queue, list(chosen), limits, weights=weights, slots=_slots(list(chosen), options), **more)


def _slots(chosen: list[str], options: dict[str, Any]) -> Slots:
    """What the options say, else the queues (`JOBQUEUE["QUEUES"]`), else one job at a time."""
    if options["concurrency"]:
        return Slots(threads=options["concurrency"], on_loop=True)
    threads = options["threads"] or worker_policy(chosen).concurrency or 1
    return Slots(threads=threads if threads > 1 else None)


def _is_supervised(options: dict[str, Any]) -> bool:
    """Whether there are child processes. CommandError for what makes no sense together."""
    several, processes, has_end = len(_aliases(options)) > 1, options["processes"], _limits(options).has_end
    per_child = [f"--{name.replace('_', '-')}" for name in _PER_CHILD if options[name] is not None]
    if options["autoscale"] and (processes is not None or has_end or options["autoreload"]):
        raise CommandError("--autoscale decides on the number of processes, and runs until told to stop.")
    if options["autoreload"] and (options["health_file"] or options["health_port"]):
        raise CommandError("--autoreload works without probes.")
    if options["autoreload"] and processes:
        raise CommandError("--autoreload works without child processes.")
    if several and processes == 0:
        raise CommandError("Several backends need child processes: --processes 0 works with one.")
    if processes and processes > 1 and (options["once"] or options["max_jobs"]):
        raise CommandError("--once and --max-jobs count the jobs of one process: use them without --processes.")
    if per_child and (has_end or processes == 0 or options["autoreload"]):
        raise CommandError(f"{per_child[0]} is for child processes that run until told to stop.")
    if processes is None:
        return several or not (has_end or options["autoreload"] or not hasattr(os, "fork"))
    return bool(processes)


def _children(queue: Queue, options: dict[str, Any]) -> int:
    """How many a store gets. SQLite has one writer at a time, so more would mostly wait for each other."""
    if options["processes"]:
        return int(options["processes"])
    return 1 if _is_sqlite(queue) or _limits(options).has_end else _cores()


def _is_sqlite(queue: Queue) -> bool:
    return not queue.store and connections[queue.database].vendor == "sqlite"


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
