"""What a move of so many jobs costs, from what was recorded for some sizes. Times in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Cost(NamedTuple):
    server: float
    client: float
    log_bytes: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one store."""

    name: str
    recorded: Mapping[str, Any]

    def trips(self, claimed: int) -> int:
        """Round trips of an exchange, or of settling alone."""
        return int(self.recorded["trips"]["exchange" if claimed else "settle"])

    @property
    def passing(self) -> float:
        """Of the server, for each row that a claim finds locked by another."""
        return float(self.recorded["passing_us"]) / 1e6

    @property
    def work(self) -> float:
        """Of the worker, for a job that does nothing: its call, and all around it but the store's client."""
        return float(self.recorded["work_us"]) / 1e6

    @property
    def cpu(self) -> float:
        """Of all processes together, for a job that does nothing, in exchanges as large as they get."""
        size = max(map(int, self.recorded["exchange"]))
        server, client, _ = self.exchange(size, size)
        return self.work + (server + client) / size

    def exchange(self, settled: int, claimed: int) -> Cost:
        """What was recorded settles as many as it claims, so a claim is that without the settling."""
        parts = [between(self.recorded["settle"], settled)] if settled else []
        if claimed:
            both, settling = between(self.recorded["exchange"], claimed), between(self.recorded["settle"], claimed)
            parts.append(Cost(*(max(0.0, one - other) for one, other in zip(both, settling, strict=True))))
        return Cost(*map(sum, zip(*parts, strict=True))) if parts else Cost(0.0, 0.0, 0.0)


def between(recorded: Mapping[str, Mapping[str, float]], size: int) -> Cost:
    """On the straight line between the two recorded sizes around it."""
    sizes = sorted(map(int, recorded))
    above = next((one for one in sizes if one >= size), sizes[-1])
    below = max((one for one in sizes if one <= size), default=sizes[0])
    share = (size - below) / (above - below) if above > below else 0.0
    low, high = (recorded[str(one)] for one in (below, above))
    server, client, log = (
        low[name] + share * (high[name] - low[name]) for name in ("server_us", "client_us", "log_bytes")
    )
    return Cost(server / 1e6, client / 1e6, log)
