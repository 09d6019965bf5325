#!/usr/bin/env python3
"""Compare the speed of this tree with that of another commit: scripts/benchmark_against.py COMMIT.

It times a fit of the article's data, a warm step with 1 and 16 particles, predictions and refinement, each in a fresh
process, the two trees in turns. It prints the median of each figure and of its ratio to the other commit's; below 1
this tree is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _environment import ROOT, ensure

ensure()

# Only names that every commit has; the worker runs under the sources of one tree.
WORKER = """
import json, sys, time, warnings
import torch
from torch import nn
import bayesian_layers as bl
assert bl.__file__.startswith(sys.argv[1]), bl.__file__
torch.set_num_threads(1)
warnings.simplefilter("ignore")

def model():
    torch.manual_seed(0)
    return bl.BayesianModel(nn.Sequential(bl.Linear(2, 10), nn.Tanh(), bl.Linear(10, 1)), bl.likelihoods.Bernoulli())

def timed(function):
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start

x, y = bl.datasets.parabola()
found = {}
result, found["article, s"] = timed(lambda: bl.fit(model(), x, y, seed=0, progress=False))
for particles in (1, 16):
    moments = []
    bl.fit(model(), x, y, particles=particles, learning_rate=0.01, max_steps=2000, progress=False,
           callbacks=[lambda progress: moments.append((progress.step, time.perf_counter())) and None])
    inside = [(s, t) for s, t in moments if 400 <= s <= 1900]
    (s0, t0), (s1, t1) = inside[0], inside[-1]
    found[f"step, {particles} particles, ms"] = 1000 * (t1 - t0) / (s1 - s0)
posterior = result.posterior
mesh = torch.rand(10_000, 2, generator=torch.Generator().manual_seed(0))
posterior.predict(mesh[:100], num_draws=1000)
found["predict, s"] = min(timed(lambda: posterior.predict(mesh, num_draws=1000))[1] for _ in range(5))
_, found["refine, s"] = timed(lambda: posterior.refine(x, y, iterations=12, num_chains=1000, progress=False))
print(json.dumps(found))
"""


def measure(tree: Path) -> dict[str, float]:
    """Run the worker once, under the sources of a tree."""
    source = tree / "src"
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORKER, str(source)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the worker failed in {tree}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def main() -> None:
    """Measure both trees in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("commit", help="what to compare with")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each tree")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other"
        subprocess.run(
            ["git", "-C", ROOT, "worktree", "add", "--quiet", "--detach", other, arguments.commit], check=True
        )
        try:
            rounds = []
            for i in range(arguments.rounds):
                pair = (ROOT, other) if i % 2 == 0 else (other, ROOT)
                found = {tree: measure(tree) for tree in pair}
                rounds.append((found[ROOT], found[other]))
                print(f"round {i + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", other], check=True)
    print(f"{'':28}{'this tree':>12}{arguments.commit[:12]:>14}{'ratio':>8}{'  from, to'}")
    for name in rounds[0][0]:
        ours, theirs = ([pair[k][name] for pair in rounds] for k in (0, 1))
        ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
        print(
            f"{name:28}{statistics.median(ours):12.4g}{statistics.median(theirs):14.4g}"
            f"{statistics.median(ratios):8.3f}  {ratios[0]:.2f}, {ratios[-1]:.2f}"
        )


if __name__ == "__main__":
    main()
