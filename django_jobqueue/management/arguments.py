"""What several commands take, and how they read it: durations, stores, queues, ids; and how they print."""

from __future__ import annotations

import json
import re
from argparse import ArgumentTypeError
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from django_jobqueue.compat import InvalidTaskBackend, backend_of, task_backends
from django_jobqueue.exceptions import STORE_ERRORS
from django_jobqueue.jobs.registry import lookup, registered_names
from django_jobqueue.lifecycle.dead_letters import DLQ_SUFFIX, letters_of, source_queue
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import Queue

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=36_525)


def duration(text: str) -> timedelta:
    """A span such as `90s`, `45m`, `36h`, `7d`, `2w` or `1d12h`."""
    parts = re.findall(r"([0-9]{1,9})([smhdw])", text.strip().lower())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip().lower():
        raise ArgumentTypeError(f"{text!r} is no duration: write 90s, 45m, 36h, 7d, 2w or 1d12h")
    span = sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in parts), timedelta())
    if span > _LONGEST:
        raise ArgumentTypeError(f"{text!r} is more than a hundred years")
    return span


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number greater than zero")
    return int(text)


def whole(text: str) -> int:
    """A whole number from 0 on."""
    return 0 if text == "0" else positive(text)


def bounds(text: str) -> tuple[int, int]:
    """Two whole numbers such as `1,8`, the first not greater than the second."""
    least, comma, most = text.partition(",")
    found = positive(least.strip()), positive(most.strip() if comma else least.strip())
    if found[0] > found[1]:
        raise ArgumentTypeError(f"{text!r}: the first must not be greater than the second")
    return found


def address(text: str) -> tuple[str, int]:
    """A port, or an address and a port: `8081`, `127.0.0.1:8081`. Without an address, all of them."""
    host, _, port = text.rpartition(":")
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65_536:
        raise ArgumentTypeError(f"{text!r} is no port: write 8081 or 127.0.0.1:8081")
    return host, int(port)


def seconds(text: str) -> float:
    """A number of seconds, 0 or more, such as `30` or `2.5`."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text):
        raise ArgumentTypeError(f"{text!r} is no number of seconds: write 30 or 2.5")
    return float(text)


def kibibytes(text: str) -> int:
    """A size such as `800K`, `512M` or `2G`."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})([KMG])(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is no size: write 800K, 512M or 2G")
    return int(match[1]) * {"K": 1, "M": 1_024, "G": 1_024**2}[match[2].upper()]


def job_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no job id: it looks like 01980f5e-8b1c-7d3e-9a61-0c5b7f0e2d44") from None


def names(text: str) -> list[str]:
    """What stands between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def weighed(text: str) -> dict[str, int | None]:
    """Queues in their order, each with its weight if it has one: `emails:3,billing:1`. Raises CommandError."""
    found: dict[str, int | None] = {}
    for one in names(text):
        name, colon, weight = one.partition(":")
        if name in found:
            raise CommandError(f"--queues names {name!r} twice.")
        try:
            found[name] = positive(weight) if colon else None
        except ArgumentTypeError:
            raise CommandError(f"--queues {one!r}: a weight is a whole number from 1 on, as in emails:3.") from None
        if not name:
            raise CommandError(f"--queues {one!r}: the name of the queue is missing.")
    return found


def add_backend(parser: CommandParser) -> None:
    parser.add_argument("--backend", default="default", metavar="ALIAS", help="Entry of TASKS (default: default).")


def add_backend_or_all(parser: CommandParser) -> None:
    parser.add_argument("--backend", metavar="ALIAS", help="Only this entry of TASKS (default: all that are ours).")


def add_json(parser: CommandParser) -> None:
    parser.add_argument("--json", action="store_true", help="Print JSON, for programs.")


def add_letter_filters(parser: CommandParser) -> None:
    """Options that narrow down dead letters; `letter_filters` reads them."""
    parser.add_argument("--queue", help="Only of this queue (emails, or emails.dlq).")
    parser.add_argument("--task", help="Only of this task.")
    parser.add_argument("--reason", help="Only those that died for this reason, such as exhausted.")
    parser.add_argument("--error", metavar="CLASS", help="Only with this exception: ValueError, app.errors.Bad.")
    parser.add_argument("--since", type=duration, metavar="SPAN", help="Only those that died within a span: 36h, 7d.")


def letter_filters(options: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The keyword arguments of `failed_jobs`."""
    return {
        "queue": options["queue"],
        "task": options["task"],
        "reason": options["reason"],
        "error_class": options["error"],
        "since": now - options["since"] if options["since"] is not None else None,
    }


def queue_of(alias: str) -> Queue:
    """The store behind an entry of TASKS. CommandError with the entries there are."""
    try:
        return get_queue(alias)
    except InvalidTaskBackend as error:
        raise CommandError(f"{error} Entries that will do: {', '.join(our_entries()) or 'none'}.") from None


def queues_of(alias: str | None) -> list[Queue]:
    """The store behind an entry of TASKS; with None the stores of all entries that are ours."""
    return [queue_of(name) for name in (our_entries() if alias is None else [alias])]


def our_entries() -> list[str]:
    return [name for name in task_backends if hasattr(type(backend_of(name)), "queue")]


@contextmanager
def answers_from(queue: Queue) -> Iterator[None]:
    """CommandError, in a sentence, when the store does not answer."""
    try:
        yield
    except STORE_ERRORS as error:
        raise CommandError(no_answer(queue, error)) from None


def no_answer(queue: Queue, error: Exception) -> str:
    return f"The store {queue.alias!r} is out of reach: {printable(error)}"


def check_queue_name(queue: Queue, name: str | None) -> None:
    """CommandError for a queue that no setting, task or job knows. `emails.dlq` is known when `emails` is.

    One that has dead letters is known without asking the store: they can be read while it is away.
    """
    if name is None or letters_of(queue, queue=name).exists():
        return
    known = known_queues(queue)
    if not is_known(name, known):
        raise unknown_queue(name, repr(queue.alias), known)


def is_known(name: str, known: Collection[str]) -> bool:
    return name in known or source_queue(name) in known


def unknown_queue(name: str, where: str, known: Iterable[str]) -> CommandError:
    return CommandError(f"There is no queue {name!r} in {where}. {_meant(name, known)}")


def _meant(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known)) or 'none'}."


def doubts_about(queues: Sequence[Queue], names: Iterable[str]) -> list[str]:
    """A sentence for each queue that no task and no setting uses: a worker may wait for it, but probably in vain."""
    declared = set().union(*map(declared_queues, queues))
    return [
        f"No task and no setting uses the queue {name!r}. {_meant(name, declared)}"
        for name in names
        if name not in declared
    ]


def known_queues(queue: Queue) -> set[str]:
    return declared_queues(queue) | {row.queue for row in queue.stats()}


def declared_queues(queue: Queue) -> set[str]:
    """The queues of the settings and of the tasks of this process."""
    of_tasks = {getattr(lookup(name).task, "queue_name", "default") for name in registered_names()}
    return of_tasks | set(getattr(backend_of(queue.alias), "queues", None) or ())


def is_dead_letter_queue(queue: Queue, name: str | None) -> bool:
    """Whether this names the dead letters of a queue. A queue that is really called so comes first."""
    return name is not None and name.endswith(DLQ_SUFFIX) and name not in known_queues(queue)


def as_json(value: Any) -> str:
    return json.dumps(value, cls=_Encoder, indent=2, ensure_ascii=False)


class _Encoder(DjangoJSONEncoder):
    def default(self, o: Any) -> Any:
        return asdict(o) if is_dataclass(o) and not isinstance(o, type) else super().default(o)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns as wide as what is in them; numbers to the right."""
    lines = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    right = [bool(lines) and all(line[n].replace(",", "").isdecimal() for line in lines) for n in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in [list(head), *lines]
    )


def printable(value: Any) -> str:
    """One line that can't move the terminal's cursor: a stored text may hold anything."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, int):
        return f"{value:,}"
    return "".join(char if char.isprintable() else " " for char in str("" if value is None else value))
