"""What is asked of the outbox, on every database."""

from __future__ import annotations

from tests.queues.outbox.arriving import Arriving
from tests.queues.outbox.committing import Committing
from tests.queues.outbox.mishaps import Mishaps


class OutboxContract(Committing, Arriving, Mishaps):
    """The other store is played by a list that can be taken away."""
