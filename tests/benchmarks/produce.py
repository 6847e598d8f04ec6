"""The producing side of a peer's measurement: `... produce MODULE single|spaced JOBS`. Prints one line of JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Callable


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("how", choices=["single", "spaced"])
    parser.add_argument("jobs", type=int)
    parser.add_argument("--warm-up", type=int, default=0)
    parser.add_argument("--gap", type=float, default=0.05)
    given = parser.parse_args()
    enqueue: Callable[[int], None] = importlib.import_module(given.module).enqueue
    for _ in range(given.warm_up):
        enqueue(0)
    begun = time.perf_counter()
    if given.how == "single":
        for number in range(given.jobs):
            enqueue(number)
    else:
        for number in range(given.jobs):
            time.sleep(max(0.0, begun + number * given.gap - time.perf_counter()))
            enqueue(time.time_ns())
    print(json.dumps({"jobs": given.jobs, "seconds": time.perf_counter() - begun}))


if __name__ == "__main__":
    main()
