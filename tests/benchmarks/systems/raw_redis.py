"""The limit on Redis: redis-py calls a script that stores an id and 200 bytes, and nothing around it.

    python -m tests.benchmarks.systems.raw_redis URL single|many JOBS

The script is not the package's, on purpose: a limit that moved with what it limits would say nothing.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from uuid import uuid4

import redis

from tests.benchmarks import recording

PIPELINE = 1_000  # as many as `enqueue_many` sends at once
WARM_UP = 50
PAYLOAD = b"x" * 200
PUSH = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return redis.call('RPUSH', KEYS[2], ARGV[1])
"""
KEYS = ("{raw}:jobs", "{raw}:ready")


def single(client: redis.Redis, sha: str, ids: Iterator[bytes]) -> None:
    for one in ids:
        client.evalsha(sha, 2, *KEYS, one, PAYLOAD)


def many(client: redis.Redis, sha: str, ids: Iterator[bytes]) -> None:
    pipeline = client.pipeline(transaction=False)
    for one in ids:
        pipeline.evalsha(sha, 2, *KEYS, one, PAYLOAD)
        if len(pipeline) == PIPELINE:
            pipeline.execute()
    pipeline.execute()


def new_ids(count: int) -> Iterator[bytes]:
    return (uuid4().bytes for _ in range(count))


if __name__ == "__main__":
    recording.install()
    address, how, jobs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with redis.Redis.from_url(address) as client:
        sha = client.script_load(PUSH)
        single(client, sha, new_ids(WARM_UP))
        begun = time.perf_counter()
        {"single": single, "many": many}[how](client, sha, new_ids(jobs))
        print(json.dumps({"jobs": jobs, "seconds": time.perf_counter() - begun}))
