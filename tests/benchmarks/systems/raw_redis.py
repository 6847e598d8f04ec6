"""The limit on Redis: redis-py calls a script that stores an id and 200 bytes, and one that takes out a hundred.

The scripts are not the package's, on purpose: a limit that moved with what it limits would say nothing. The drain is
what any queue with leases has to do: take ids from a list, note whose they are, hand out the payloads, and delete both
when the next hundred is asked for. It runs no job and keeps no history.
"""

from __future__ import annotations

from uuid import uuid4

from tests.benchmarks import recording
from tests.benchmarks.systems.base import Setup, System

PIPELINE = 1_000  # as many as `enqueue_many` sends at once
PAYLOAD = b"x" * 200
PUSH = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return redis.call('RPUSH', KEYS[2], ARGV[1])
"""
EXCHANGE = """
for i = 3, #ARGV do
  if redis.call('HGET', KEYS[3], ARGV[i]) == ARGV[1] then
    redis.call('HDEL', KEYS[3], ARGV[i])
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
local ids = redis.call('LPOP', KEYS[2], ARGV[2])
if not ids then return {} end
local leases = {}
for _, id in ipairs(ids) do leases[#leases + 1] = id; leases[#leases + 1] = ARGV[1] end
redis.call('HSET', KEYS[3], unpack(leases))
return {ids, redis.call('HMGET', KEYS[1], unpack(ids))}
"""
KEYS = ("{raw}:jobs", "{raw}:ready", "{raw}:leases")


class RawRedis(System):
    name, stores = "raw", ("redis",)
    promise = "nothing is run"
    setups = (Setup("1 connection", 1, ("100",)), Setup("2 connections", 2, ("100",)))
    left = KEYS[0]
    ends_by_itself = has_many = True

    def open(self) -> None:
        import redis

        self.client = redis.Redis.from_url(self.address)
        self.push, self.exchange = self.client.script_load(PUSH), self.client.script_load(EXCHANGE)

    def enqueue(self, sent_ns: int) -> None:
        self.client.evalsha(self.push, 2, *KEYS[:2], uuid4().bytes, PAYLOAD)

    def enqueue_many(self, jobs: int) -> None:
        pipeline = self.client.pipeline(transaction=False)
        for _ in range(jobs):
            pipeline.evalsha(self.push, 2, *KEYS[:2], uuid4().bytes, PAYLOAD)
            if len(pipeline) == PIPELINE:
                pipeline.execute()
        pipeline.execute()

    def work(self, batch: str) -> None:
        worker, ids = uuid4().bytes, []
        while found := self.client.evalsha(self.exchange, 3, *KEYS, worker, batch, *ids):
            ids = found[0]
            for _ in ids:
                recording.run(0)
