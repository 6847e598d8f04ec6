"""Three nodes of a cluster without replicas. A node needs TCP, so this one is on loopback ports instead of sockets."""

from __future__ import annotations

import re
import time
from urllib.parse import urlsplit

from tests.servers.redis import durability, find_redis, title, within_reach
from tests.servers.rooms import LOOPBACK, START_TIMEOUT, Missing, Room, ask, free_ports

NODES = 3
SLOTS = 16384
NODE_TIMEOUT = 500  # milliseconds; also how often nodes gossip, so it decides how soon all know all
PATIENCE = 60_000  # milliseconds, once they do: a node of a busy machine that is slow to answer is not dead


def start_cluster(room: Room) -> dict[str, str]:
    """Nodes that are about to form a cluster; it serves in two seconds, see `wait_for_cluster`."""
    binary = within_reach(room, find_redis())
    free = free_ports(2 * NODES)
    ports, buses = free[:NODES], free[NODES:]
    for number, (port, bus) in enumerate(zip(ports, buses, strict=True)):
        directory = room.path / f"node{number}"
        options = (
            f"--port {port} --cluster-port {bus} --bind {LOOPBACK} --save {durability(room)} --dir {directory} "
            f"--cluster-enabled yes --cluster-node-timeout {NODE_TIMEOUT}"
        )
        room.make(directory)
        room.serve([binary, *options.split()], ready=lambda port=port: ask(port, b"PING\r\n").startswith(b"+PONG"))
    for number, port in enumerate(ports):
        first, last = SLOTS * number // NODES, SLOTS * (number + 1) // NODES - 1
        command(port, f"CLUSTER SET-CONFIG-EPOCH {number + 1}")
        command(port, f"CLUSTER ADDSLOTSRANGE {first} {last}")
        command(ports[0], f"CLUSTER MEET {LOOPBACK} {port} {buses[number]}")
    return {"url": f"redis://{LOOPBACK}:{ports[0]}", "version": f"{title(binary)}, {NODES} nodes"}


def command(port: int, text: str) -> None:
    """Some of them wait for the disk."""
    if not (answer := ask(port, f"{text}\r\n".encode(), START_TIMEOUT)).startswith(b"+OK"):
        raise Missing(f"{text}: {answer.decode(errors='replace').strip()}")


def wait_for_cluster(url: str) -> None:
    """Until every node says that the cluster serves.

    A primary waits two seconds after its start before it says so, whatever its configuration. Whoever needs the
    cluster waits for the rest of them; nobody else does.
    """
    first, deadline = urlsplit(url).port, time.monotonic() + START_TIMEOUT
    while not all_serve(first):
        if time.monotonic() > deadline:
            raise Missing(f"the cluster does not serve after {START_TIMEOUT:.0f} s")
        time.sleep(0.02)
    for port in ports_of(first):
        command(port, f"CONFIG SET cluster-node-timeout {PATIENCE}")


def all_serve(first: int) -> bool:
    known = ports_of(first)
    return len(known) >= NODES and all(b"cluster_state:ok" in ask(port, b"CLUSTER INFO\r\n") for port in known)


def ports_of(first: int) -> list[int]:
    return [int(port) for port in re.findall(rb" [^ ]*:(\d+)@\d+", ask(first, b"CLUSTER NODES\r\n"))]
