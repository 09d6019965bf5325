#!/usr/bin/env python3
"""Run the examples and write their reports: scripts/make_examples.py [digits] [gap] [sequence] [moons] [bimodal].

Each writes index.html, its pictures and metrics.json into a folder of its name. With --quick everything is as small
as it can be: to see that it runs, not what comes out.
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
from examples.common import report

EXAMPLES = {each.__name__.rpartition(".")[2]: each.run for each in (digits, gap, sequence, moons, bimodal)}


def main(words: list[str] | None = None) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(EXAMPLES)}; all if none is named"
    )
    parser.add_argument("--quick", action="store_true", help="as small as can be")
    parser.add_argument("--out", type=Path, default=ROOT / "reports", help="folder of the folders")
    options = parser.parse_args(words)
    unknown = set(options.names) - set(EXAMPLES)
    if unknown:
        parser.error(f"there is no example {', '.join(sorted(unknown))}; there are {', '.join(EXAMPLES)}")
    torch.set_num_threads(1)  # small networks lose by more
    for name in options.names or EXAMPLES:
        command = f"scripts/make_examples.py {name}{' --quick' if options.quick else ''}"
        start = time.monotonic()
        try:
            check_report_folder(options.out / name)
            example = EXAMPLES[name](options.quick)
            print(write_report(options.out / name, *report(example, command)))
        except (BayesianLayersError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        for heading, sentence in example.short:
            print(heading, sentence)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
