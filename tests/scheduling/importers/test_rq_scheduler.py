"""rq-scheduler: its sorted set, and hashes as rq writes them."""

from __future__ import annotations

import json
import pickle
import sys
import zlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.cache import caches

from django_jobqueue.jobs.schedule import at, cron, every
from django_jobqueue.queues import get_queue
from django_jobqueue.scheduling.importers.found import NoSource
from tests.scheduling.importers.peers import NOON, read

BY_HAND = "write the schedule by hand"
LATER = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.mark.redis
class TestRedis:
    @pytest.fixture(autouse=True)
    def client(self):
        self.redis = get_queue("redis").connection.client
        self.redis.flushdb()
        self.ids = 0
        yield
        self.redis.flushdb()

    def add(
        self, task="shop.tasks.ship", args=(1, "x"), kwargs=None, when=LATER, dumps=pickle.dumps, meta=None, **more
    ):
        self.ids += 1
        job_id = f"00000000-0000-4000-8000-{self.ids:012}"
        fields = {"data": zlib.compress(dumps((task, None, args, kwargs or {}))), "origin": "low", **more}
        if meta is not None:
            fields["meta"] = dumps(meta)
        self.redis.hset(f"rq:job:{job_id}", mapping=fields)
        self.redis.zadd("rq:scheduler:scheduled_jobs", {job_id: when.timestamp()})

    def read(self):
        return list(read("rq-scheduler", url=caches["redis"]._server).values())

    def read_one(self):
        (one,) = self.read()
        return one

    def test_a_cron_line(self):
        self.add(meta={"cron_string": "*/5 9-17 * * mon-fri", "use_local_timezone": False}, kwargs={"b": [1, None]})
        one = self.read_one()
        assert one.schedule == cron("*/5 9-17 * * mon-fri", "Europe/Berlin")
        assert (one.task, one.args, one.kwargs, one.queue) == ("shop.tasks.ship", (1, "x"), {"b": [1, None]}, "low")
        assert one.name == "shop.tasks.ship #00000000-0000-4000-8000-000000000001"

    def test_an_interval_keeps_its_phase_and_ends_after_as_many_runs(self):
        self.add(meta={"interval": 3600, "repeat": 3})
        one = self.read_one()
        assert one.schedule == every(hours=1, start=LATER)
        assert one.ends_at == LATER + timedelta(hours=2)

    def test_once(self):
        self.add()
        self.add(when=NOON - timedelta(days=1))
        past, coming = sorted(self.read(), key=lambda one: not one.refused)
        assert coming.schedule == at(LATER)
        assert "passed" in past.refused

    def test_a_project_that_has_chosen_json(self):
        self.add(dumps=lambda value: json.dumps(value).encode(), meta={"interval": 60})
        assert self.read_one().schedule == every(minutes=1, start=LATER)

    def test_days_that_must_match_twice_are_left_out_as_cron_takes_either(self):
        self.add(meta={"cron_string": "0 0 1 * 1"})
        assert "either" in self.read_one().refused

    def test_what_is_no_plain_data_is_left_out_unread(self):
        self.add("shop.tasks.pay", args=(Decimal("9.90"),), description="shop.tasks.pay(Decimal('9.90'))")
        self.add("shop.tasks.odd", meta={"interval": Decimal(3)})
        self.redis.zadd("rq:scheduler:scheduled_jobs", {"gone": LATER.timestamp()})
        self.redis.hset("rq:job:strange", mapping={"data": b"\x80\x05garbage"})
        self.redis.zadd("rq:scheduler:scheduled_jobs", {"strange": LATER.timestamp()})
        refused = {one.name.partition(" ")[0]: one.refused for one in self.read()}
        assert "safely" in refused["shop.tasks.pay"]
        assert "meta" in refused["shop.tasks.odd"]
        assert all(refused.values())
        assert len(refused) == 3

    @pytest.mark.parametrize("score", [1e18, -1e18, float("inf"), 1e14])
    def test_a_next_run_that_is_no_time_hides_no_other_row(self, score):
        self.add()
        self.add()
        self.redis.zadd("rq:scheduler:scheduled_jobs", {f"00000000-0000-4000-8000-{self.ids:012}": score})
        assert sorted(one.refused for one in self.read()) == ["", f"its next run is no time: {score:g}; {BY_HAND}"]

    def test_lists_without_an_end_hide_no_other_row(self):
        self.add()
        self.redis.hset("rq:job:deep", mapping={"data": b"[" * 200_000})
        self.redis.zadd("rq:scheduler:scheduled_jobs", {"deep": LATER.timestamp()})
        assert sorted(bool(one.refused) for one in self.read()) == [False, True]

    def test_a_few_bytes_that_stand_for_gigabytes(self):
        self.redis.hset("rq:job:bomb", mapping={"data": zlib.compress(b"\x80\x05X" + b"\0" * 50_000_000)})
        self.redis.zadd("rq:scheduler:scheduled_jobs", {"bomb": LATER.timestamp()})
        assert "longer" in self.read_one().refused


def test_without_its_driver_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(NoSource, match="pip install redis"):
        read("rq-scheduler", url="redis://127.0.0.1:9/0")


def test_where_it_is_must_be_said():
    with pytest.raises(NoSource, match="--url"):
        read("rq-scheduler")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:9/0", "nonsense"])
def test_a_server_that_is_not_there(url):
    with pytest.raises(NoSource, match="Redis can't be read"):
        read("rq-scheduler", url=url)
