#!/usr/bin/env python3
"""Compare priors for the library's default: ELBO and cross-validated log likelihood, on training rows only.

The tasks are the article's data and network, and the four UCI data sets with the configuration of
scripts/benchmark_quality.py, without the test rows of the first split and with at most `--rows` rows. For each prior a
fit on all these rows gives the ELBO, and fits without one fold give the log likelihood of that fold. Results are
written line by line to priors.jsonl, and a run that is started again resumes; then priors.md and priors.json are
written.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
import warnings
from pathlib import Path

from _environment import ensure

ensure()

import numpy as np
import torch
from torch import nn

import bayesian_layers as bl
import benchmark_quality as quality
from _benchmarking import (
    Record,
    append,
    benchmark_parser,
    code_hash,
    listed_versions,
    read_lines,
    record_head,
    write_results,
)
from bayesian_layers.model import log_likelihood
from bayesian_layers.noise import seeded

CANDIDATES = ("normal:1", "normal:2", "fan_in", "learned", "hierarchical")
TASKS = ("article", *quality.FILES)


def rows_of(task: str, folder: Path, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the training rows of a task."""
    if task == "article":
        x, y = bl.datasets.parabola()
        return x.numpy(), y.numpy()
    x, y, masks = quality.load(folder, task)
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(~masks[0]))[:most]
    return x[chosen], y[chosen]


def build(task: str, inputs: int, prior: str, seed: int) -> bl.BayesianModel:
    """Build the model of a task."""
    if task != "article":
        return quality.build(inputs, prior, seed)
    of_layers = quality.parse_prior(prior)
    with seeded(seed):
        network = nn.Sequential(
            bl.Linear(inputs, 10, prior=of_layers), nn.Tanh(), bl.Linear(10, 1, prior=of_layers)
        )
    return bl.BayesianModel(network, bl.likelihoods.Bernoulli())


def scale(task: str, train: np.ndarray, other: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Standardize by the training rows; the article's data stay as they are."""
    if task == "article":
        return torch.as_tensor(train), torch.as_tensor(other), 0.0
    (one, two), _, std = quality.standardize(train, other)
    return one, two, float(np.log(std)) if std.ndim == 0 else 0.0


def fit_and_judge(
    task: str,
    prior: str,
    train: tuple[np.ndarray, np.ndarray],
    held: tuple[np.ndarray, np.ndarray],
    seed: int,
) -> Record:
    """Fit on some rows, and score on others."""
    x, x_held, _ = scale(task, train[0], held[0])
    y, y_held, log_std = scale(task, train[1], held[1])
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bl.errors.FitWarning)  # `converged` records it
        result = bl.fit(build(task, x.shape[1], prior, seed), x, y, seed=seed, progress=False)
    posterior = result.posterior
    row = {"elbo": result.elbo, "converged": result.converged, "seconds": time.perf_counter() - start}
    if len(y_held):
        log_p = log_likelihood(posterior.model, posterior.sample(quality.DRAWS), x_held, y_held)
        row["log_likelihood"] = float((log_p.double().logsumexp(0) - math.log(len(log_p))).mean()) - log_std
    return row


def measure(task: str, prior: str, fold: int, options: argparse.Namespace) -> Record:
    """Fit without one fold; fold -1 means all rows."""
    x, y = rows_of(task, options.data, options.rows)
    folds = np.random.default_rng(1).permutation(len(y)) % options.folds
    out = folds == fold
    return fit_and_judge(task, prior, (x[~out], y[~out]), (x[out], y[out]), seed=fold + 1)


def page(record: Record) -> str:
    """Return the report as Markdown."""
    lines = [
        "# Priors for the default",
        "",
        f"Made by `{record['command']}` on {record['date']}. No test row of the UCI splits was used.",
    ]
    for title, key, digits in (
        ("ELBO on all training rows, nats of the standardized targets", "elbo", 1),
        (
            f"Log likelihood of {record['folds']} held-out folds, nats per row in the units of y",
            "log_likelihood",
            3,
        ),
    ):
        lines += ["", f"## {title}", "", f"| prior | {' | '.join(TASKS)} |", "|---|" + "---|" * len(TASKS)]
        for prior in CANDIDATES:
            cells = [cell(record["rows"], task, prior, key, digits) for task in TASKS]
            lines.append(f"| {prior} | {' | '.join(cells)} |")
    lines += [
        "",
        f"In brackets: the number of fits that did not converge. Versions: {listed_versions(record)}.",
    ]
    return "\n".join(lines) + "\n"


def cell(rows: list[Record], task: str, prior: str, key: str, digits: int) -> str:
    """Format the score of one prior on one task."""
    wanted = [
        r for r in rows if (r["task"], r["prior"]) == (task, prior) and (r["fold"] < 0) == (key == "elbo")
    ]
    if not wanted:
        return ""
    flagged = sum(not row["converged"] for row in wanted)
    return f"{statistics.fmean(row[key] for row in wanted):.{digits}f}" + (f" ({flagged})" if flagged else "")


def main(arguments: list[str] | None = None) -> None:
    """Run the fits that have no result yet, and write the report."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with one .npz file per UCI data set")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument(
        "--rows", type=int, default=1500, help="largest number of rows of a data set (%(default)s)"
    )
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    path, code = options.output / "priors.jsonl", code_hash()
    setting = {"folds": options.folds, "rows": options.rows, "code": code}
    rows = [row for row in read_lines(path) if row.items() >= setting.items()]
    for fold in range(-1, options.folds):
        for task in TASKS:
            for prior in CANDIDATES:
                key = {"task": task, "prior": prior, "fold": fold}
                if any(row.items() >= key.items() for row in rows):
                    continue
                rows.append({**key, **measure(task, prior, fold, options), **setting})
                append(path, rows[-1])
                print(json.dumps(rows[-1]), flush=True)
    record = {
        **record_head(
            f"scripts/benchmark_priors.py --data DATA --folds {options.folds} --rows {options.rows}"
        ),
        **setting,
        "rows": rows,
    }
    write_results(options.output, "priors", record, page(record))
    print(page(record))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
