"""The peers on Redis, each in the configuration that was its fastest on two cores."""

from __future__ import annotations

from tests.benchmarks.systems.base import Peer

CELERY = Peer(
    name="celery",
    configuration="2 processes, solo pool",
    worker=(
        *("celery", "-A", "tests.benchmarks.systems.celery", "worker", "-P", "solo", "-l", "warning"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ),
    holds=("celery", "unacked"),
    share=0.25,
)
DRAMATIQ = Peer(
    name="dramatiq",
    configuration="2 processes of 8 threads",
    worker=("dramatiq", "tests.benchmarks.systems.dramatiq", "--processes", "2", "--threads", "8"),
    workers=1,
    holds=("dramatiq:default", "dramatiq:default.msgs"),
)
HUEY = Peer(
    name="huey",
    configuration="2 consumers of 4 threads",
    worker=("huey.bin.huey_consumer", "tests.benchmarks.systems.huey.queue", "--workers", "4", "--no-periodic", "-q"),
    holds=("huey.redis.bench",),
)
RQ = Peer(
    name="rq",
    configuration="2 SimpleWorkers",
    worker=("tests.benchmarks.systems.rq", "wait"),
    holds=("rq:queue:default",),
    share=0.1,
)
PEERS = {peer.name: peer for peer in (CELERY, DRAMATIQ, HUEY, RQ)}
