#!/usr/bin/env python3
"""Run the examples and write their reports: scripts/make_examples.py [digits] [gap] [sequence] [moons] [bimodal].

Each writes index.html, its pictures and metrics.json into a folder with its name. With --quick everything is as small
as possible: this shows that an example runs, but its results mean nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from _environment import ROOT, ensure

ensure("report")

import torch

from bayesian_layers.errors import BayesianLayersError
from bayesian_layers.reporting import check_report_folder, write_report
from examples import bimodal, digits, gap, moons, sequence
from examples.common import build_example_report

EXAMPLES = {each.__name__.rpartition(".")[2]: each.run for each in (digits, gap, sequence, moons, bimodal)}


def main(arguments: list[str] | None = None) -> int:
    """Run the examples, write their reports, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(EXAMPLES)}; all of them by default"
    )
    parser.add_argument("--quick", action="store_true", help="make everything as small as possible")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "reports", help="folder to write the reports' folders to"
    )
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(EXAMPLES)
    if unknown:
        parser.error(f"there is no example {', '.join(sorted(unknown))}; there are {', '.join(EXAMPLES)}")
    torch.set_num_threads(1)  # more threads slow small networks down
    for name in options.names or EXAMPLES:
        command = f"scripts/make_examples.py {name}{' --quick' if options.quick else ''}"
        start = time.monotonic()
        try:
            check_report_folder(options.out / name)
            example = EXAMPLES[name](options.quick)
            print(write_report(options.out / name, *build_example_report(example, command)))
        except (BayesianLayersError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        for heading, sentence in example.summary:
            print(heading, sentence)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
