#!/usr/bin/env python3
"""Measure the same small fit on an otherwise idle machine and beside one busy process, in turns.

120 rows, 5 inputs, one hidden layer, with everything at its default; torch has as many threads as the machine has
cores. On two cores the median beside the busy process must be at most 2.5 times the other. Prints both and the ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from _environment import ensure

ensure()

import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.noise import seeded

RATIO = 2.5


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Run processes that do nothing but compute, and end them after the block."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def seconds(width: int, max_steps: int | None) -> float:
    """Time a fit."""
    with seeded(0):
        x = torch.randn(120, 5)
        y = torch.tanh(x @ torch.linspace(-1, 1, 5)) + 0.1 * torch.randn(120)
        network = nn.Sequential(bl.Linear(5, width), nn.Tanh(), bl.Linear(width, 1))
    model = bl.BayesianModel(network, bl.likelihoods.Normal("learned"))
    start = time.perf_counter()
    bl.fit(model, x, y, max_steps=max_steps, progress=False)
    return time.perf_counter() - start


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="turns (%(default)s)")
    parser.add_argument("--width", type=int, default=20, help="units of the hidden layer (%(default)s)")
    parser.add_argument("--max-steps", type=int, help="of each fit; as many as the fit takes by default")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", bl.errors.ConvergenceWarning)
    times: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(options.repeats):
        for processes, taken in times.items():
            with busy(processes):
                taken.append(seconds(options.width, options.max_steps))
    quiet, beside = (statistics.median(taken) for taken in times.values())
    print(
        f"{torch.get_num_threads()} threads, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before other work"
    )
    print(
        f"idle {quiet:.2f} s, beside a busy process {beside:.2f} s: {beside / quiet:.2f} times; the target is {RATIO}"
    )
    return int(beside > RATIO * quiet)


if __name__ == "__main__":
    raise SystemExit(main())
