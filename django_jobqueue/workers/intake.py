"""What a worker takes from its store: how many jobs at once, which of them it keeps, and when it fetches ahead."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from uuid import UUID

from django.db import DatabaseError, OperationalError

from django_jobqueue.lifecycle.outcomes import released
from django_jobqueue.queues.base import Exchange, Queue, Reservation
from django_jobqueue.workers.background import Errand
from django_jobqueue.workers.outbox import Outbox, is_sociable
from django_jobqueue.workers.pace import Pace
from django_jobqueue.workers.settler import Settler


class Intake:
    """Fetches jobs into the outbox. Everything is for the worker's thread, but what runs in the fetcher's."""

    def __init__(self, queue: Queue, outbox: Outbox, settler: Settler, pace: Pace) -> None:
        self._queue = queue
        self._outbox = outbox
        self._settler = settler
        self._pace = pace
        self._ahead = Errand("jobqueue-fetch")
        self._line_is_long = False
        self.is_wary = False
        """Whether a job in hand is one of those that are fetched and run alone."""
        self.has_given_back = False
        """Whether the last fetch gave some back. That is to be stored before a job runs that may end the process."""
        self.claim_is_open = False
        """Whether the answer to a claim was lost: the worker may hold jobs it never heard of."""

    def fetch(self, worker: UUID, room: int, most: int | None) -> Exchange:
        """Store what was decided and fetch the next batch, in one transaction: what can start at once, or more."""
        wanted = 1 if self.is_wary else max(room, self._pace.limit)
        if most is not None:
            wanted = min(wanted, most)
        exchange = self._exchange(wanted, worker)
        self.has_given_back = False
        self._line_is_long = len(exchange.reservations) == wanted
        if exchange.reservations:
            self._receive(exchange.reservations)
        return exchange

    def _exchange(self, limit: int, worker: UUID) -> Exchange:
        try:
            return self._settler.exchange(limit, worker)
        except DatabaseError as error:
            # It may have been done, and only the answer was lost; what a database refuses is rolled back.
            self.claim_is_open = self.claim_is_open or isinstance(error, OperationalError)
            raise
        except Exception:  # the answer was lost, or we choked on it
            self.claim_is_open = True
            raise

    def _receive(self, jobs: Sequence[Reservation]) -> None:
        """Order is kept: what is before one that runs alone runs first, what is behind it goes back to its place."""
        kept = list(takewhile(is_sociable, jobs)) or jobs[:1]
        self._outbox.receive(kept)
        self._outbox.add([released(job) for job in jobs[len(kept) :]])
        self.has_given_back = len(kept) < len(jobs)
        self.is_wary = not is_sociable(kept[0])  # such jobs stand together: fetch one, give none back

    # -- ahead -------------------------------------------------------------------------------------------------------

    def begin_ahead(self, worker: UUID) -> None:
        """While a batch runs, fetch the next, where that is worth it."""
        if self._queue.answers_while_we_work and self._line_is_long and self._pace.may_fetch_ahead and not self.is_wary:
            self._ahead.begin(partial(self._fetch_ahead, worker, self._pace.limit))

    def top_up(self, worker: UUID) -> None:
        """While jobs run in other threads: fetch more before the last of those in hand is started.

        Never more than a batch is in hand: what a worker expects to finish in `PREFETCH_SECONDS`.
        """
        wanted = self._pace.limit - self._outbox.unstarted
        if self._line_is_long and self._pace.is_worth_it and 2 * wanted >= self._pace.limit and not self.is_wary:
            self._fetch_ahead(worker, wanted)

    def _fetch_ahead(self, worker: UUID, wanted: int) -> None:
        """While a batch runs: store what the last one came to, and fetch the next.

        Nothing from one on that runs alone: it is fetched when nothing else is in hand (see `_receive`). And nothing at
        all when jobs of the batch that runs were given back meanwhile: they come before these.
        """
        before = self._outbox.times_emptied
        jobs = self._exchange(wanted, worker).reservations
        is_next = self._outbox.times_emptied == before
        kept = list(takewhile(is_sociable, jobs)) if is_next else []
        self._outbox.receive(kept)
        self._outbox.add([released(job) for job in jobs[len(kept) :]])
        self._line_is_long = len(kept) == wanted
        if len(kept) < len(jobs):
            self._settler.exchange(0, worker)

    def wait(self) -> None:
        """Until nothing is under way. Raises the errors of the store."""
        self._ahead.wait()

    def end(self) -> None:
        self._ahead.end()
