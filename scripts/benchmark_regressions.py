#!/usr/bin/env python3
"""Fit random Bayesian linear regressions and compare with the best mean-field Normal, which is known in closed form.

Each has up to 200 inputs, a design matrix with condition number up to 1e6, known noise and a Normal prior, all drawn at
random; some have an intercept, fewer rows than inputs, or single precision. `bl.fit` is called with its defaults. Its
fit must be within 0.01 nats of the best ELBO, with every mean within 0.01 marginal standard deviations of the
posterior's, or must be reported as not converged. Writes regressions.md and regressions.json.
"""

from __future__ import annotations

import math
import statistics
import time
import warnings
from itertools import pairwise

from _environment import ensure

ensure()

import numpy as np
import torch

import bayesian_layers as bl
from _benchmarking import Record, benchmark_parser, listed_versions, record_head, write_results
from bayesian_layers.noise import seeded

GAP, OFF = 1e-2, 1e-2  # nats; marginal posterior standard deviations
BANDS = (1e1, 1e3, 1e6)  # upper ends of the bands of the condition number


def problem(generator: np.random.Generator) -> Record:
    """Draw a random regression."""
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
    """Return how far a fit is from the best mean-field Normal: the gap of the ELBO, and the largest error of a mean."""
    # The best one has the posterior's mean and the variances 1 / A_jj of its precision A. With distance d from the mean
    # and r_j = s_j² A_jj, the gap is d'Ad / 2 + sum (r_j - 1 - log r_j) / 2.
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
        warnings.simplefilter("ignore")  # the result contains the warnings
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
    """Return the report as Markdown."""
    lines = [
        "# Random linear regressions, compared with their closed form",
        "",
        f"Made by `{record['command']}` on {record['date']}. Up to 200 inputs, known noise and prior, 5 to 600 rows, "
        "some with an intercept, most in single precision. A silent miss is a fit that is reported as converged and "
        f"is off by more than {GAP} nats or {OFF} marginal standard deviations.",
        "",
        "| condition number | regressions | converged | silent misses | largest gap, nats | largest error of a mean, "
        "marginal standard deviations | median seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    edges = [0.0, *BANDS]
    for low, high in pairwise(edges):
        lines.append(
            row_of(f"{low:g} to {high:g}", [r for r in record["rows"] if low < r["condition"] <= high])
        )
    lines.append(row_of("all", record["rows"]))
    return (
        "\n".join(
            [*lines, "", f"Largest values are those of converged fits. Versions: {listed_versions(record)}."]
        )
        + "\n"
    )


def row_of(name: str, rows: list[Record]) -> str:
    """Return the line of the table for one band."""
    sure = [row for row in rows if row["converged"]]
    if not sure:
        return f"| {name} | {len(rows)} | 0 | 0 | | | |"
    silent = sum(row["gap"] > GAP or row["off"] > OFF for row in sure)
    return (
        f"| {name} | {len(rows)} | {len(sure)} | {silent} | {max(row['gap'] for row in sure):.1e} | "
        f"{max(row['off'] for row in sure):.1e} | {statistics.median(row['seconds'] for row in rows):.3f} |"
    )


def main(arguments: list[str] | None = None) -> int:
    """Fit all regressions, write the report, and return the exit status."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--regressions", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="seed of the regressions (%(default)s)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    record: Record = {
        **record_head(
            f"scripts/benchmark_regressions.py --regressions {options.regressions} --seed {options.seed}"
        ),
        "rows": [measure(index, options.seed) for index in range(options.regressions)],
    }
    write_results(options.output, "regressions", record, page(record))
    print(page(record))
    return int(any(row["converged"] and (row["gap"] > GAP or row["off"] > OFF) for row in record["rows"]))


if __name__ == "__main__":
    raise SystemExit(main())
