"""The contract of proved deaths: what a dead worker held is free at once, and it is fenced if it lives after all."""

from __future__ import annotations

from django_jobqueue.conf import conf
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.queues.base import Move, Room, Settlement
from tests.queues.hooks import HOUR, Hooks, claim, claim_one, ids, job, jobs, joined, push_and_claim, settle, together


class Dying(Hooks):
    def test_p10_the_jobs_of_a_worker_that_is_proved_dead_are_free_at_once(self, queue):
        """A lost execution, as reclaim would have it after the lease: attempt and place given back, a crash counted."""
        dead, other = joined(queue), joined(queue)
        payloads = jobs(5)
        queue.push(*payloads)
        lost, kept = claim(queue, 3, dead), claim_one(queue, other)
        assert queue.declare_dead(dead) == 3
        found = queue.find(lost[0].job_id)
        assert (found.room, found.attempt, found.lease_no) == (Room.READY, 0, 1)
        (record,) = self.history(queue, lost[0].job_id)
        assert (record.outcome, record.attempt, record.lease_no, record.worker_id) == ("lost", 1, 1, dead)
        line = claim(queue, 9)
        assert ids(line) == [one.id for one in [*payloads[:3], payloads[4]]]
        assert [(one.attempt, one.lease_no, one.crashes) for one in line[:3]] == [(1, 2, 1)] * 3
        assert settle(queue, kept)

    def test_p2_it_is_lost_once_however_often_it_is_declared(self, queue):
        """Repeated, or followed by reclaim: the leases are gone, so nothing is taken and no crash is counted again."""
        dead = joined(queue)
        push_and_claim(queue, dead)
        assert [queue.declare_dead(dead), queue.declare_dead(dead), queue.reclaim()] == [1, 0, 0]
        assert claim_one(queue).crashes == 1
        assert queue.declare_dead(dead) == 0

    def test_p3_a_worker_that_lives_after_all_is_fenced(self, queue):
        """It hears so with its next heartbeat, settles nothing of what was taken, and gets nothing more."""
        worker = joined(queue)
        mine = push_and_claim(queue, worker)
        queue.push(job())
        queue.declare_dead(worker)
        assert not queue.heartbeat(worker)
        assert [settle(queue, mine, move, delay=0) for move in Move] == [False] * len(Move)
        assert claim(queue, 5, worker) == []
        assert queue.leases(worker) == []
        current = claim_one(queue)
        assert (current.job_id, current.lease_no) == (mine.job_id, 2)
        queue.leave(worker)
        assert settle(queue, current)
        assert self.outcomes(queue, mine.job_id) == ["lost", "completed"]

    def test_p5_proved_deaths_spend_the_crash_budget(self, queue):
        payload = job(max_attempts=1)
        queue.push(payload)
        budget = conf().CRASH_BUDGET
        for _ in range(budget):
            worker = joined(queue)
            assert claim_one(queue, worker).attempt == 1
            assert queue.declare_dead(worker) == 1
        dead = self.dead_letter(queue, payload.id)
        assert (dead.reason, dead.crashes) == ("worker_lost", budget)
        assert queue.find(payload.id) is None
        assert self.outcomes(queue, payload.id) == ["lost"] * budget

    def test_p5_what_it_had_not_started_is_not_charged(self, queue):
        worker = joined(queue)
        started, careful, asked, other = job(), job(crash_budget=1), job(), job()
        queue.push(started, careful, asked, other)
        claim(queue, 4, worker)
        queue.request_cancel(asked.id)
        assert queue.declare_dead(worker, {careful.id, asked.id, other.id}) == 4
        assert [self.outcomes(queue, one.id) for one in (started, careful, asked, other)] == [
            ["lost"],
            [],
            ["cancelled"],
            [],
        ]
        line = claim(queue, 9)
        assert [(one.job_id, one.attempt, one.crashes) for one in line] == [
            (started.id, 1, 1),
            (careful.id, 1, 0),
            (other.id, 1, 0),
        ]

    def test_declaring_the_unknown_and_the_gone_dead_is_nothing(self, queue):
        left = joined(queue)
        push_and_claim(queue, left)
        queue.leave(left)
        assert [queue.declare_dead(left), queue.declare_dead(uuid7())] == [0, 0]
        assert claim_one(queue).crashes == 0

    def test_leases_are_the_reservations_of_a_worker(self, queue):
        """They settle what was claimed: a killed child's jobs can be ended by somebody else."""
        worker, other = joined(queue), joined(queue)
        queue.push(*jobs(3), *jobs(2, queue="mail", priority=5, timeout=1.5, args='{"args":["ü"]}'), job(delay=HOUR))
        mine = [*claim(queue, 2, worker, ["mail"]), *claim(queue, 2, worker)]
        claim_one(queue, other)
        held = queue.leases(worker)
        assert [one._replace(wait_ms=0) for one in held] == [one._replace(wait_ms=0) for one in mine]
        assert all(abs(one.wait_ms - known.wait_ms) <= 1 for one, known in zip(held, mine, strict=True))
        assert queue.settle([Settlement(one, Move.COMPLETED) for one in held]) == [True] * 4
        assert queue.leases(worker) == []
        assert not settle(queue, mine[0])

    def test_leases_of_the_unknown_are_none(self, queue):
        push_and_claim(queue)
        assert queue.leases(uuid7()) == []

    def test_p10_a_worker_that_holds_a_thousand_jobs_loses_them_all(self, queue):
        worker = joined(queue)
        queue.push(*jobs(1_100))
        assert len(claim(queue, 1_100, worker)) == len(queue.leases(worker)) == 1_100
        assert queue.declare_dead(worker) == 1_100
        assert queue.stats()[0][1:4] == (1_100, 0, 0)

    def test_p3_settled_or_lost_never_both(self, queue):
        """Of a settlement and a declaration that meet, the first to lock a lease has it; the other finds it gone."""
        worker = joined(queue)
        queue.push(*jobs(40))
        line = claim(queue, 40, worker)
        halves = line[:20], line[20:]
        done = together(
            *[lambda half=half: queue.settle([Settlement(one, Move.COMPLETED) for one in half]) for half in halves],
            lambda: queue.declare_dead(worker),
            lambda: queue.declare_dead(worker),
            queue.reclaim,
        )
        settled = [*done[0], *done[1]]
        # what a settlement held at that moment, and gave up, is left to reclaim
        lost = sum(done[2:]) + queue.reclaim()
        assert sum(settled) + lost == 40
        for one, was_settled in zip(line, settled, strict=True):
            # Who comes to light of a worker that was dead already was not running, and is charged with nothing.
            assert self.outcomes(queue, one.job_id) in ([["completed"]] if was_settled else [["lost"], []])

    def test_p3_left_or_lost_never_both(self, queue):
        """A worker that leaves while it is declared dead gives its jobs back or loses them: each job once."""
        worker = joined(queue)
        queue.push(*jobs(30))
        line = claim(queue, 30, worker)
        done = together(
            lambda: queue.leave(worker), lambda: queue.declare_dead(worker), lambda: queue.declare_dead(worker)
        )
        lost = sum(done[1:]) + queue.reclaim()
        assert queue.stats()[0][1:4] == (30, 0, 0)
        assert sum(len(self.outcomes(queue, one.job_id)) for one in line) == lost

    def test_p2_claimed_or_refused_never_lost(self, queue):
        """A claim that meets the declaration of its worker gets its jobs before it, or none; what it got goes back."""
        worker = joined(queue)
        queue.push(*jobs(60))
        claims = [lambda: claim(queue, 5, worker) for _ in range(4)]
        together(*claims, lambda: queue.declare_dead(worker), *claims)
        queue.reclaim()
        assert queue.leases(worker) == []
        assert queue.stats()[0][1:4] == (60, 0, 0)
