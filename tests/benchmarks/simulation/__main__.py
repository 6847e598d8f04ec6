"""Say where the first bottleneck of a fleet is, on paper.

python -m tests.benchmarks.simulation                          from the last record, some minutes
python -m tests.benchmarks.simulation --record                 measure the service times first, two minutes per store
python -m tests.benchmarks.simulation --server-cores 64 --round-trip 0.001
python -m tests.benchmarks.simulation --write-docs
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.__main__ import among
from tests.benchmarks.environments import ROOT
from tests.benchmarks.processes import Failed
from tests.benchmarks.simulation import record, report
from tests.benchmarks.simulation.fleet import Site

PAGE = Path("docs/explanation/scaling.md")
BEGIN = "<!-- figures: written by `make simulation ARGS=--write-docs` -->"
END = "<!-- end of figures -->"


def options() -> argparse.Namespace:
    site = Site()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.simulation", description=__doc__.splitlines()[0])
    parser.add_argument("--stores", type=among(tuple(report.TITLES)), default=",".join(report.TITLES))
    parser.add_argument("--record", action="store_true", help=f"Measure, and write {record.FILE.name}.")
    parser.add_argument("--server-cores", type=int, default=site.server_cores, help="Default: %(default)s.")
    parser.add_argument("--host-cores", type=int, default=site.host_cores, help="Of each host (default: %(default)s).")
    parser.add_argument("--round-trip", type=float, default=site.round_trip, help="Seconds (default: %(default)s).")
    parser.add_argument("--sync", type=float, help="Seconds of a flush of the log (default: as recorded).")
    parser.add_argument("--write-docs", action="store_true", help=f"Renew the figures in {PAGE}.")
    return parser.parse_args()


def main() -> None:
    given = options()
    site = replace(
        Site(),
        server_cores=given.server_cores,
        host_cores=given.host_cores,
        round_trip=given.round_trip,
        sync=given.sync,
    )
    recorded = record.record(given.stores) if given.record else record.read()
    pieces = []
    for piece in report.report(recorded, given.stores, site):
        print(piece, end="\n\n", flush=True)
        pieces.append(piece)
    if given.write_docs:
        write("\n\n".join(pieces))


def write(figures: str, root: Path = ROOT) -> None:
    """Replace what is between the markers, and nothing else."""
    page = root / PAGE
    before, rest = page.read_text().split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}")


if __name__ == "__main__":
    try:
        main()
    except Failed as problem:
        raise SystemExit(f"simulation: {problem}") from None
