"""What each fault means, how bad it is, and what a repair does: the words of `queue_fsck`."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from django_jobqueue.queues.inspection import Fault


class Severity(StrEnum):
    """An error breaks a promise (P1 to P11). A warning costs time or space, or has to be known."""

    ERROR = "error"
    WARNING = "warning"


class Explanation(NamedTuple):
    """`repair` says what `--repair` does, or what people can do where it does nothing."""

    severity: Severity
    meaning: str
    repair: str


_ERROR, _WARNING = Severity.ERROR, Severity.WARNING

EXPLANATIONS: dict[Fault, Explanation] = {
    Fault.NO_ROOM: Explanation(
        _ERROR,
        "A job that is neither ready nor delayed nor running (P2): nobody will ever claim it.",
        "It goes to its line, with the lease number and the attempts that are known of it.",
    ),
    Fault.TWO_ROOMS: Explanation(
        _ERROR,
        "A job in two places at once (P2): it may run twice at the same time.",
        "It stays where it is running; if it is not, in its place in the line.",
    ),
    Fault.NO_JOB: Explanation(
        _WARNING,
        "A place, a due time, a lease or a state without a job: counted, and passed over by every claim.",
        "It is deleted.",
    ),
    Fault.WRONG_QUEUE: Explanation(
        _ERROR,
        "A job stands in the line of another queue than its own (P6).",
        "It moves to its own queue, at the same place.",
    ),
    Fault.DEAD_HOLDER: Explanation(
        _ERROR,
        "A lease whose worker is unknown or has been silent for too long, and that nobody has taken back (P10). "
        "No worker runs, or those that run can't reclaim.",
        "It is reclaimed as any worker would do: back to the line, or a dead letter if its crash budget is spent.",
    ),
    Fault.NOT_LISTED: Explanation(
        _ERROR,
        "A running job that is not in its worker's list: when the worker dies, nobody takes the job back (P10).",
        "It is added to the list.",
    ),
    Fault.NOT_ASKED: Explanation(
        _ERROR,
        "A running job was asked to stop, and its worker will not hear of it (P8).",
        "The request goes where workers look for it.",
    ),
    Fault.NO_LEASE: Explanation(
        _WARNING, "A worker's list names a job that it does not hold.", "The job is taken off the list."
    ),
    Fault.OVERDUE: Explanation(
        _WARNING,
        "A delayed job has been due for long, while a worker has nothing to do (P7).",
        "What is due is made ready.",
    ),
    Fault.TOO_MANY_ATTEMPTS: Explanation(
        _ERROR,
        "A job that runs in more attempts than it may have, or that waits for one too many (P5).",
        "Nothing: cancel it, or let it run once more.",
    ),
    Fault.TOO_MANY_CRASHES: Explanation(
        _WARNING,
        "A live job has brought down as many workers as it may (P5). So it is when CRASH_BUDGET has been lowered.",
        "Nothing: cancel it, or let it run; the next crash makes it a dead letter.",
    ),
    Fault.LEASE_BEHIND: Explanation(
        _ERROR,
        "The history has a lease number of this job that is not behind its present one (P3): a write of an old lease "
        "could pass for the new one's. So it is when a server lost its last writes.",
        "The number of a job that waits is raised. That of a running job is in its worker's hands, and stays.",
    ),
    Fault.ENDED_BUT_LIVE: Explanation(
        _ERROR,
        "The history says that the job is over, yet it is live and will run again (P2). So it is when a server lost "
        "its last writes, or when the same id was pushed again after its record was gone.",
        "Nothing: cancel it if it must not run twice.",
    ),
    Fault.DEAD_BUT_LIVE: Explanation(
        _ERROR,
        "A dead letter whose job is live at the same time (P9).",
        "Nothing: discard the letter if the job is to run, or cancel the job.",
    ),
    Fault.KEY_OF_NOBODY: Explanation(
        _ERROR,
        "A unique key is held by a job that is over: every push with this key is silently refused (P9).",
        "The key is set free.",
    ),
    Fault.KEY_NOT_HELD: Explanation(
        _ERROR,
        "A live job does not hold its unique key: a second one with that key would be stored.",
        "It gets its key, unless another live job has it.",
    ),
    Fault.OUTBOX_LATE: Explanation(
        _WARNING,
        "A job committed to the outbox has not been delivered to its store for long (P1).",
        "It is delivered, as any worker of that store would do.",
    ),
    Fault.OUTBOX_LOST: Explanation(
        _ERROR,
        "A job in the outbox waits for a store that is not in TASKS: nobody will deliver it (P1).",
        "Nothing: put the entry back into TASKS.",
    ),
    Fault.UNRECORDED_LATE: Explanation(
        _WARNING,
        "An ended execution has not been written to the tables for long: the database is away, or no worker runs.",
        "It is written, as any worker would do. What can't be read is deleted.",
    ),
    Fault.WRONG_COUNT: Explanation(
        _ERROR,
        "The number kept of a queue's jobs in a room is not how many there are (P11): workers that serve all queues "
        "may pass it by.",
        "The jobs are counted anew in one script, if there are not more than 200,000.",
    ),
    Fault.NOT_BALANCED: Explanation(
        _ERROR,
        "The rooms do not add up to the live jobs (P11).",
        "Nothing by itself: the other findings say which jobs it is about.",
    ),
    Fault.NO_CONSTRAINT: Explanation(
        _ERROR,
        "A unique index is missing in the database: executions or unique keys could be stored twice (P3).",
        "Nothing: run `manage.py migrate`, or create the index by hand.",
    ),
}
