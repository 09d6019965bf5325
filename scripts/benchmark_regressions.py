#!/usr/bin/env python3
"""Fit random Bayesian linear regressions and compare with the best mean-field Normal, which is known in closed form.

Each has up to 200 inputs, a design of condition up to 1e6, a known noise and a Normal prior, all drawn at random;
some have an intercept, fewer rows than inputs, single precision. `bl.fit` is called as it comes. Its fit must be
within 0.01 nats of the best ELBO with every mean within 0.01 marginal deviations of the posterior, or must say
that it has not converged. Writes regressions.md and regressions.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import statistics
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

from _environment import ROOT, ensure

ensure()

import numpy as np
import torch

import bayesian_layers as bl
from bayesian_layers.noise import seeded
from bayesian_layers.saving.versions import versions

Record = dict[str, Any]

GAP, OFF = 1e-2, 1e-2  # nats; marginal posterior deviations
BANDS = (1e1, 1e3, 1e6)  # upper ends of the bands of the design's condition


def problem(generator: np.random.Generator) -> Record:
    """Draw a regression."""
    inputs = int(generator.integers(1, 201))
    rows = int(generator.integers(max(inputs // 2, 5), 600))
    rank = min(rows, inputs)
    condition = 10 ** generator.uniform(0, 6)
    left, _ = np.linalg.qr(generator.normal(size=(rows, rank)))
    right, _ = np.linalg.qr(generator.normal(size=(inputs, rank)))
    values = np.geomspace(1, 1 / condition, rank) if rank > 1 else np.ones(1)
    dtype = "float32" if generator.random() < 0.7 else "float64"
    x = ((left * values) @ right.T * math.sqrt(rows) * generator.choice([1, 3, 10])).astype(dtype)
    noise, prior = 10 ** generator.uniform(-2, 0.5), 10 ** generator.uniform(-0.5, 0.5)
    weights = prior * generator.normal(size=inputs)
    y = (x @ weights + noise * generator.normal(size=rows)).astype(dtype)
    intercept = bool(generator.random() < 0.3)
    return {
        "x": x,
        "y": y,
        "noise": noise,
        "prior": prior,
        "intercept": intercept,
        "condition": condition if rank > 1 else 1.0,
    }


def fit(task: Record, seed: int) -> bl.FitResult:
    """Fit with everything at its default."""
    x, y = torch.from_numpy(task["x"]), torch.from_numpy(task["y"])
    with seeded(seed):
        layer = bl.Linear(
            x.shape[1], 1, bias=task["intercept"], prior=bl.priors.Normal(scale=task["prior"]), dtype=x.dtype
        )
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(task["noise"]))
    return bl.fit(model, x, y, seed=seed, progress=False)


def miss(task: Record, result: bl.FitResult) -> tuple[float, float]:
    """Compare with the best mean-field Normal: the posterior's mean, and variances 1 / diagonal of its precision."""
    # .. math:: \text{gap} = \tfrac12 d^T A d + \tfrac12 \sum_j (r_j - 1 - \log r_j), \quad r_j = s_j^2 A_{jj}
    x, y = task["x"].astype(np.float64), task["y"].astype(np.float64)
    if task["intercept"]:
        x = np.hstack([x, np.ones((len(x), 1))])
    precision = x.T @ x / task["noise"] ** 2 + np.eye(x.shape[1]) / task["prior"] ** 2
    mean = np.linalg.solve(precision, x.T @ y / task["noise"] ** 2)
    marginal = np.sqrt(np.diag(np.linalg.inv(precision)))
    guide = result.posterior.source
    loc, log_scale = (getattr(guide, name).detach().double().numpy() for name in ("loc", "log_scale"))
    off, ratio = loc - mean, np.exp(2 * log_scale) * np.diag(precision)
    gap = 0.5 * off @ precision @ off + 0.5 * float((ratio - 1 - np.log(ratio)).sum())
    return float(gap), float(np.abs(off / marginal).max())


def measure(index: int, seed: int) -> Record:
    """Draw and fit one regression."""
    task = problem(np.random.default_rng([seed, index]))
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it says is in the result too
        result = fit(task, index)
        converged = bool(result.converged)
    seconds = time.perf_counter() - start
    gap, off = miss(task, result)
    rows, inputs = task["x"].shape
    return {
        "rows": rows,
        "inputs": inputs,
        "dtype": str(task["x"].dtype),
        **{name: task[name] for name in ("condition", "noise", "prior", "intercept")},
        "gap": gap,
        "off": off,
        "converged": converged,
        "said_gap": result.gap,
        "seconds": seconds,
    }


def page(record: Record) -> str:
    """Write the report."""
    lines = [
        "# Random linear regressions beside their closed form",
        "",
        f"Made by `{record['command']}` on {record['date']}. Up to 200 inputs, noise "
        "and prior known, rows from 5 to 600, some with an intercept, most in single precision. A silent miss is a "
        f"fit that calls itself converged and is more than {GAP} nats or {OFF} marginal deviations off.",
        "",
        "| condition of the design | regressions | converged | silent misses | largest gap, nats | largest error of a "
        "mean, marginal deviations | median seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    edges = [0.0, *BANDS]
    for low, high in pairwise(edges):
        lines.append(
            row_of(f"{low:g} to {high:g}", [r for r in record["rows"] if low < r["condition"] <= high])
        )
    lines.append(row_of("all", record["rows"]))
    named = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return "\n".join([*lines, "", f"Largest values are of the converged ones. Versions: {named}."]) + "\n"


def row_of(name: str, rows: list[Record]) -> str:
    """Sum a band up."""
    sure = [row for row in rows if row["converged"]]
    if not sure:
        return f"| {name} | {len(rows)} | 0 | 0 | | | |"
    silent = sum(row["gap"] > GAP or row["off"] > OFF for row in sure)
    return (
        f"| {name} | {len(rows)} | {len(sure)} | {silent} | {max(row['gap'] for row in sure):.1e} | "
        f"{max(row['off'] for row in sure):.1e} | {statistics.median(row['seconds'] for row in rows):.3f} |"
    )


def main(words: list[str] | None = None) -> int:
    """Fit them all and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--regressions", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="of the regressions")
    parser.add_argument("--output", type=Path, default=ROOT / "reports" / "benchmarks")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    record: Record = {
        "command": f"scripts/benchmark_regressions.py --regressions {options.regressions} --seed {options.seed}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": versions(),
        "rows": [measure(index, options.seed) for index in range(options.regressions)],
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "regressions.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (options.output / "regressions.md").write_text(page(record), encoding="utf-8")
    print(page(record))
    return int(any(row["converged"] and (row["gap"] > GAP or row["off"] > OFF) for row in record["rows"]))


if __name__ == "__main__":
    raise SystemExit(main())
