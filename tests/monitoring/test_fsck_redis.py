from __future__ import annotations

import pytest
from django.db import transaction

from django_jobqueue import models
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.queues.base import Move, WorkerReport
from django_jobqueue.queues.redis import inspecting, packed
from tests.monitoring.faults import FsckContract, codes, found, left_alone, look, repaired
from tests.queues.hooks import HOUR, LONG_AGO, claim, job, jobs, joined, push_and_claim, settle
from tests.queues.redis_store import empty, open_queue


class RedisFsckContract(FsckContract):
    server: str

    @pytest.fixture
    def queue(self):
        queue = open_queue(self.server)
        empty(queue)
        yield queue
        queue.close()

    def client(self, queue):
        return queue.connection.client

    def key(self, queue, name):
        return queue._scripts.key("jobs").removesuffix("jobs") + name

    def state(self, queue, job_id):
        return packed.unpack_state(self.client(queue).hget(self.key(queue, "state"), job_id.bytes))

    def set_state(self, queue, job_id, **values):
        state = self.state(queue, job_id)._replace(**values)
        self.client(queue).hset(self.key(queue, "state"), job_id.bytes, packed._STATE.pack(*state))

    def held(self, queue, worker):
        return self.key(queue, "").encode() + b"held:" + worker

    def expire(self, queue, reservation):
        worker = self.state(queue, reservation.job_id).worker
        self.client(queue).zadd(self.key(queue, "workers"), {worker: 1})

    def make_due(self, queue, job_id):
        self.client(queue).zadd(self.key(queue, "delayed"), {job_id.bytes: packed.microseconds(LONG_AGO)}, xx=True)

    def keep_busy(self, queue, worker):
        queue.report(worker, WorkerReport())  # so old that its table still says that it runs nothing

    # -- rooms -------------------------------------------------------------------------------------------------------

    def test_p2_a_ready_job_that_is_in_no_line(self, queue):
        queue.push(first := job(), lost := job(), last := job())
        line = self.key(queue, "line:default:0")
        self.client(queue).lrem(line, 1, self.client(queue).lindex(line, 1))
        found(queue, "no_room", lost.id)
        repaired(queue, "no_room")
        assert [one.job_id for one in claim(queue, 9)] == [first.id, lost.id, last.id]

    def test_p2_a_line_that_no_level_leads_to(self, queue):
        queue.push(*(line := jobs(3)))
        self.client(queue).delete(self.key(queue, "levels:default"))
        found(queue, "no_room", *[one.id for one in line])
        repaired(queue, "no_room")
        assert len(claim(queue, 9)) == 3

    def test_p2_a_job_that_was_given_back_and_is_nowhere(self, queue):
        mine = push_and_claim(queue)
        settle(queue, mine, Move.RELEASED)
        assert codes(look(queue)) == []
        self.client(queue).delete(self.key(queue, "back:default:0"))
        found(queue, "no_room", mine.job_id)
        repaired(queue, "no_room")
        assert claim(queue)[0].job_id == mine.job_id

    def test_p2_a_delayed_job_without_a_due_time(self, queue):
        queue.push(lost := job(delay=HOUR))
        self.client(queue).delete(self.key(queue, "delayed"))
        report = look(queue)
        assert set(codes(report)) == {"no_room", "not_balanced"}
        repaired(queue, "no_room")
        assert claim(queue)[0].job_id == lost.id

    def test_p2_a_job_in_two_rooms(self, queue):
        queue.push(ready := job())
        running = push_and_claim(queue, priority=100)
        dues = {ready.id.bytes: 1, running.job_id.bytes: 1}
        self.client(queue).zadd(self.key(queue, "delayed"), dues)
        found(queue, "two_rooms", ready.id, running.job_id, also=("not_balanced",))
        repaired(queue, "two_rooms")
        assert claim(queue)[0].job_id == ready.id
        assert settle(queue, running)

    @pytest.mark.parametrize("where", ["line", "back"])
    def test_p2_a_job_that_stands_in_the_line_twice(self, queue, where):
        queue.push(*(line := jobs(3)))
        key = self.key(queue, "line:default:0")
        element = self.client(queue).lindex(key, 1)
        if where == "line":
            self.client(queue).linsert(key, "BEFORE", element, element)
        else:
            self.client(queue).zadd(self.key(queue, "back:default:0"), {line[1].id.bytes: 2})
        found(queue, "two_rooms", line[1].id)
        repaired(queue, "two_rooms")
        assert [one.job_id for one in claim(queue, 9)] == [one.id for one in line]

    def test_p6_a_line_in_disorder_is_walked(self, queue):
        """A repair by hand may have left it so; the claims find the jobs all the same."""
        queue.push(*jobs(30))
        key = self.key(queue, "line:default:0")
        elements = self.client(queue).lrange(key, 0, -1)
        self.client(queue).delete(key)
        self.client(queue).rpush(key, *reversed(elements), b"garbage")
        assert codes(look(queue)) == []

    @pytest.mark.parametrize("gaps", [False, True])
    def test_every_place_of_a_long_line_is_found(self, queue, gaps, monkeypatch):
        monkeypatch.setattr(inspecting, "PIECE", 0)  # the first look must do
        line = jobs(3_000)
        for start in range(0, 3_000, 50):
            queue.push(*line[start : start + 50])
            if gaps:
                self.client(queue).hincrby(self.key(queue, "meta"), "seq", 10 ** (start % 9))
        seen = []
        for jobs_seen in queue.inspector(60)._all_jobs():
            seen += [one.letters for one in jobs_seen]
        assert len(seen) == 3_000
        assert set(seen) == {""}

    def test_states_and_due_times_without_a_job(self, queue):
        mine = push_and_claim(queue)
        ghost, due = uuid7(), uuid7()
        state = self.client(queue).hget(self.key(queue, "state"), mine.job_id.bytes)
        self.client(queue).hset(self.key(queue, "state"), ghost.bytes, state)
        self.client(queue).zadd(self.key(queue, "delayed"), {due.bytes: 1})
        found(queue, "no_job", ghost, due, also=("not_balanced",))
        repaired(queue, "no_job")
        assert settle(queue, mine)

    # -- leases ------------------------------------------------------------------------------------------------------

    def test_p10_a_lease_that_is_not_in_its_workers_list(self, queue):
        mine = push_and_claim(queue)
        worker = self.state(queue, mine.job_id).worker
        self.client(queue).delete(self.held(queue, worker))
        found(queue, "not_listed", mine.job_id, also=("not_balanced",))
        repaired(queue, "not_listed")
        self.expire(queue, mine)
        assert queue.reclaim() == 1

    def test_p10_a_lease_of_an_unknown_worker(self, queue):
        mine = push_and_claim(queue)
        worker = self.state(queue, mine.job_id).worker
        self.client(queue).delete(self.held(queue, worker))
        self.client(queue).zrem(self.key(queue, "workers"), worker)
        self.set_state(queue, mine.job_id, claimed_at=1.0)
        assert queue.reclaim() == 0  # nobody would ever find it
        found(queue, "dead_holder", mine.job_id, also=("not_balanced",))
        repaired(queue, "dead_holder")
        again = claim(queue)[0]
        assert (again.job_id, again.lease_no, again.crashes) == (mine.job_id, 2, 1)

    def test_a_list_that_names_what_its_worker_does_not_hold(self, queue):
        mine = push_and_claim(queue)
        worker = self.state(queue, mine.job_id).worker
        settle(queue, mine, Move.RETRY, delay=HOUR)
        self.client(queue).sadd(self.held(queue, worker), mine.job_id.bytes)
        report = look(queue)
        assert set(codes(report)) == {"no_lease", "not_balanced"}
        [name] = report.finding("no_lease").examples
        assert str(mine.job_id) in name
        repaired(queue, "no_lease")

    def test_p8_a_request_to_stop_that_nobody_hears(self, queue):
        mine = push_and_claim(queue)
        assert queue.request_cancel(mine.job_id)
        assert codes(look(queue)) == []
        self.client(queue).delete(self.key(queue, "asked"))
        found(queue, "not_asked", mine.job_id)
        repaired(queue, "not_asked")
        worker = self.state(queue, mine.job_id).worker_id
        assert queue.cancellations(worker) == {mine.job_id: False}

    # -- unique keys -------------------------------------------------------------------------------------------------

    def test_p9_a_key_whose_job_is_gone_would_refuse_every_push(self, queue):
        queue.push(other := job())
        keys = {"mails:7": uuid7().bytes, b"\xff\xfe": other.id.bytes}
        self.client(queue).hset(self.key(queue, "unique"), mapping=keys)
        found(queue, "key_of_nobody", "mails:7", b"\xff\xfe".decode(errors="surrogateescape"))
        repaired(queue, "key_of_nobody")
        mine = job(unique_key="mails:7")
        assert queue.push(mine) == [mine.id]

    def test_a_live_job_without_its_key(self, queue):
        queue.push(mine := job(unique_key="k"))
        self.client(queue).delete(self.key(queue, "unique"))
        found(queue, "key_not_held", mine.id)
        repaired(queue, "key_not_held")
        assert queue.push(job(unique_key="k")) == [mine.id]

    def test_a_key_that_two_live_jobs_have_is_left_to_people(self, queue):
        queue.push(one := job(unique_key="k"))
        self.client(queue).delete(self.key(queue, "unique"))
        queue.push(two := job(unique_key="k"))
        found(queue, "key_not_held", one.id)
        report = look(queue, repair=True)
        assert report.finding("key_not_held").repaired == 0
        assert queue.push(job(unique_key="k")) == [two.id]

    # -- numbers -----------------------------------------------------------------------------------------------------

    def break_counts(self, queue):
        queue.push(*jobs(3), job(queue="mails"), job(delay=HOUR))
        counts = self.key(queue, "counts")
        self.client(queue).hdel(counts, "r:mails")
        self.client(queue).hset(counts, mapping={"r:default": 5, "d:none": 1})

    def test_p11_numbers_that_are_wrong_are_counted_anew(self, queue):
        self.break_counts(queue)
        found(queue, "wrong_count", "default ready", "mails ready", "none delayed", also=("not_balanced",))
        repaired(queue, "wrong_count")
        assert {row.queue: row.ready for row in queue.stats()} == {"default": 3, "mails": 1}

    def test_p11_of_very_many_jobs_the_sums_are_compared(self, queue, monkeypatch):
        monkeypatch.setattr(inspecting, "COUNTED", 1)
        queue.push(*jobs(3), job(delay=HOUR))
        push_and_claim(queue)
        assert codes(look(queue)) == []
        for name in ("r:none", "d:none", "l:none"):
            self.client(queue).hset(self.key(queue, "counts"), name, 1)
            assert "wrong_count" in codes(look(queue))
            self.client(queue).hdel(self.key(queue, "counts"), name)
        self.break_counts(queue)
        found(queue, "wrong_count", "of all queues", also=("not_balanced",))
        monkeypatch.setattr(inspecting, "COUNTED_TO_MEND", 1)
        assert look(queue, repair=True).finding("wrong_count").repaired == 0

    # -- two stores --------------------------------------------------------------------------------------------------

    def test_an_ended_execution_that_is_not_in_the_tables(self, queue, monkeypatch):
        mine = push_and_claim(queue)
        monkeypatch.setattr("django_jobqueue.queues.redis.recorder.tables_of", self.is_away)
        settle(queue, mine)
        assert codes(look(queue)) == []
        assert look(queue, late=0).finding("unrecorded_late").examples == [f"{mine.job_id} lease 1"]
        monkeypatch.undo()
        entries = self.key(queue, "unrecorded")
        for field, data in self.client(queue).hgetall(entries).items():  # an hour ago
            self.client(queue).hset(entries, field, packed.Struct(">d").pack(1.0) + data[8:])
        self.client(queue).hset(entries, "garbage", "x")
        assert look(queue).finding("unrecorded_late").count == 2
        repaired(queue, "unrecorded_late")
        assert models.JobHistory.objects.filter(job_id=mine.job_id).count() == 1

    def is_away(self, *_):
        raise transaction.TransactionManagementError("the database is away")

    def test_p1_a_job_that_was_not_delivered(self, queue, settings):
        with transaction.atomic():
            [job_id] = queue.push(job())
            queue._outbox._local.transit.ids.clear()  # a crash after the commit
        assert codes(look(queue)) == []
        models.Job.objects.update(created_at=LONG_AGO)
        found(queue, "outbox_late", job_id)
        repaired(queue, "outbox_late")
        assert claim(queue)[0].job_id == job_id

    def test_p2_a_job_that_redis_itself_knows_is_over(self, queue):
        mine = push_and_claim(queue)
        record = self.client(queue).hget(self.key(queue, "jobs"), mine.job_id.bytes)
        settle(queue, mine)
        models.JobHistory.objects.all().delete()
        self.client(queue).hset(self.key(queue, "jobs"), mine.job_id.bytes, record)
        assert "ended_but_live" in codes(look(queue))
        left_alone(queue, "ended_but_live")

    def test_a_letter_that_is_brought_back_while_we_look_is_no_fault(self, queue):
        """It is gone from the tables before its job arrives, but we may have read it before."""
        mine = push_and_claim(queue)
        settle(queue, mine, Move.DEAD, reason="exhausted")
        inspector, letters = queue.inspector(60), []

        def revive(*which):
            if not letters:
                letters.append(models.DeadLetterJob.objects.get(pk=mine.job_id))
                letters[0].delete()
                queue.push(job(id=mine.job_id, lease_no=1))
            return seen(*which)

        seen, inspector._seen = inspector._seen, revive
        assert inspector._jobs_again([mine.job_id]) == []

    def test_a_job_that_ends_while_we_look_is_no_fault(self, queue, monkeypatch):
        """At the first look the tables are read after Redis: what ends between looks wrong, and not at the second."""
        mine = push_and_claim(queue)
        inspector = queue.inspector(60)
        read = inspector._pasts

        def late(job_ids):
            settle(queue, mine, Move.RETRY, delay=HOUR)
            return read(job_ids)

        inspector._pasts = late
        suspects = {one for piece in inspector.look() for one in piece.suspects}
        assert {str(one.fault) for one in suspects} == {"lease_behind"}
        inspector._pasts = read
        assert inspector.look_again(list(suspects)) == set()

    def test_more_jobs_than_a_slice_holds(self, queue):
        line = [job(unique_key=f"k{n}", delay=HOUR if n % 2 else None) for n in range(1_500)]
        queue.push(*line)
        held = claim(queue, 200, joined(queue))
        report = look(queue)
        assert codes(report) == []
        assert report.looked_at == {
            **{"sums": 1, "jobs": 1_500, "state_entries": 200, "delayed_entries": 750, "unique_entries": 1_500},
            **{"workers": 1, "late_unrecorded": 0, "late_outbox": 0},
        }
        assert len(held) == 200


@pytest.mark.redis
@pytest.mark.django_db(transaction=True)
class TestRedis(RedisFsckContract):
    server = "redis"


@pytest.mark.redis62
@pytest.mark.django_db(transaction=True)
class TestRedis62(RedisFsckContract):
    server = "redis62"


@pytest.mark.cluster
@pytest.mark.django_db(transaction=True)
class TestCluster(RedisFsckContract):
    server = "cluster"
