"""The conformance suite: what every store promises. A store's own test is this, in ten lines:

    class TestMyQueue(QueueContract):
        @pytest.fixture
        def queue(self):
            return MyQueue(...)                               # fresh and empty

        def make_due(self, queue, job_id, due_at=LONG_AGO): ...
        def expire_worker(self, queue, worker): ...

Tests are named for the promise (P1 to P11, see docs/explanation) or the scar they hold.
"""

from __future__ import annotations

from tests.queues.claiming import Claiming
from tests.queues.dying import Dying
from tests.queues.hooks import Hooks
from tests.queues.living import Living
from tests.queues.looking import Looking
from tests.queues.producing import Pushing, Unique
from tests.queues.races import Races
from tests.queues.settling import Burying, Fencing, Settling
from tests.queues.stopping import Budgets, Stopping
from tests.queues.waiting import Cancelling, Delaying


class QueueContract(
    Pushing,
    Unique,
    Delaying,
    Cancelling,
    Looking,
    Claiming,
    Settling,
    Fencing,
    Burying,
    Living,
    Dying,
    Stopping,
    Budgets,
    Races,
    Hooks,
):
    """Every verb of `queues/base.py`, one store at a time."""
