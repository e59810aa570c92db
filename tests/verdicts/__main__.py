"""Simulations of intervals and tests from the command line: `python -m tests.verdicts [NAME...] [--scale S] [--json]`.

Each rate is printed as soon as it is available. The exit code is 1 if any is outside its band.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from tests.verdicts import backbones, choices, classification, few_shot, images, protocols, selection
from tests.verdicts.rates import SIMULATIONS, Rate

assert all((backbones, choices, classification, few_shot, images, protocols, selection)), "registers the simulations"


def measured(names: Sequence[str], scale: float) -> Iterator[Rate]:
    """Run the named simulations in sequence; progress is written to stderr."""
    for name in names:
        begun = time.perf_counter()
        for rate in SIMULATIONS[name](scale):
            mark = "     " if rate.holds else "FAILS"
            band = f"{rate.low:.2f} to {rate.high:.2f}"
            print(f"{mark} {name}: {rate.setting}: {rate.found:.3f} ({band})", file=sys.stderr, flush=True)
            yield rate
        print(f"      {name} took {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the requested simulations; return the exit code."""
    parser = argparse.ArgumentParser(prog="tests.verdicts", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SIMULATIONS)}")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of repetitions")
    parser.add_argument("--json", action="store_true", help="print all rates as one document")
    asked = parser.parse_args(arguments)
    if unknown := sorted(set(asked.names) - set(SIMULATIONS)):
        parser.error(f"no simulation is called {', '.join(unknown)}")
    rates = list(measured(asked.names or list(SIMULATIONS), asked.scale))
    outside = sum(not rate.holds for rate in rates)
    if asked.json:
        documents = [{**asdict(rate), "holds": rate.holds} for rate in rates]
        print(json.dumps({"rates": documents, "hold": len(rates) - outside, "do_not": outside}, indent=1))
    else:
        print(f"{len(rates) - outside} of {len(rates)} rates hold")
    return int(outside > 0)


if __name__ == "__main__":
    sys.exit(main())
