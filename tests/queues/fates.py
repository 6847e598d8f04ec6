"""The ways a job can be known to its store, and how a test brings one there."""

from __future__ import annotations

from django_jobqueue.queues.base import Move
from tests.queues.hooks import HOUR, claim_one, job, settle

# The ways a job id can be known. Each brings a job there, and says how many live jobs there are then.
FATES = {
    "ready": 1,
    "delayed": 1,
    "leased": 1,
    "retrying": 1,
    "completed": 0,
    "cancelled": 0,
    "dead": 0,
}


def bring(queue, payload, fate):
    """Push a job and bring it to its fate."""
    queue.push(payload)
    if fate == "cancelled":
        assert queue.cancel(payload.id)
    if fate in ("ready", "delayed", "cancelled"):
        return
    reservation = claim_one(queue)
    assert reservation.job_id == payload.id
    moves = {"completed": Move.COMPLETED, "dead": Move.DEAD, "retrying": Move.RETRY}
    if fate in moves:
        assert settle(queue, reservation, moves[fate], delay=HOUR, reason="exhausted")


def destined(fate, **values):
    return job(**values, **({"delay": HOUR} if fate == "delayed" else {}))
