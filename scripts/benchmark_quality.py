#!/usr/bin/env python3
"""Measure the quality of the library's predictions on four UCI data sets, and write quality.md and quality.json.

All data sets have the same configuration: inputs and targets standardized by the training rows, one hidden layer of 50
ReLU units, Normal noise with a learned scale, `bl.fit` at its defaults, 1000 draws of the posterior. RMSE and test log
likelihood are in the units of y.

Results are written line by line to quality.jsonl in the output folder, and a run that is started again resumes. Lines
of other code or other data are ignored. The report shows every guide and prior in the file.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

from _environment import ensure

ensure()

import numpy as np
import torch
from torch import nn

import bayesian_layers as bl
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

FILES = {"concrete": "concrete", "energy": "energy", "power": "power-plant", "wine": "wine-quality-red"}
# Mean test log likelihood over the same 20 splits, as published.
PUBLISHED = {
    "Pyro SVI": {"concrete": -3.29, "energy": -1.58, "power": -2.92, "wine": -0.97},
    "tuned MC dropout": {"concrete": -2.94, "energy": -1.21, "power": -2.81, "wine": -0.93},
}
GUIDES = {
    "default": None,
    "mean-field": bl.guides.MeanFieldNormal,
    "full-rank": bl.guides.FullRankNormal,
    "low-rank": bl.guides.LowRankNormal,
    "ensemble": bl.guides.Ensemble,
    "ensemble-equal": partial(bl.guides.Ensemble, weights="equal"),
}
PRIORS = "default, normal:SCALE, learned, fan_in or hierarchical"
DRAWS = 1000


def load(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a data set: inputs, targets, and one mask of test rows per split."""
    with np.load(folder / f"{FILES[name]}.npz", allow_pickle=False) as arrays:
        x, y, mask = arrays["x"], arrays["y"], arrays["test_mask"]
    return x, y, np.unpackbits(mask, axis=1)[:, : len(y)].astype(bool)


def standardize(train: np.ndarray, *others: np.ndarray) -> tuple[list[torch.Tensor], np.ndarray, np.ndarray]:
    """Standardize by the training rows; return the parts, the means and the standard deviations."""
    mean, std = train.mean(0), train.std(0)
    std = np.where(std > 0, std, 1.0)
    parts = [torch.tensor((each - mean) / std, dtype=torch.float32) for each in (train, *others)]
    return parts, mean, std


def build(inputs: int, prior: str, seed: int) -> bl.BayesianModel:
    """Build the model of the configuration."""
    of_layers = parse_prior(prior)
    with seeded(seed):
        network = nn.Sequential(
            bl.Linear(inputs, 50, prior=of_layers), nn.ReLU(), bl.Linear(50, 1, prior=of_layers)
        )
    return bl.BayesianModel(network, bl.likelihoods.Normal("learned"))


def parse_prior(text: str) -> bl.priors.Prior | None:
    """Parse the option `--prior`."""
    if text == "default":
        return None
    kind, _, scale = text.partition(":")
    try:
        if kind == "normal":
            return bl.priors.Normal(scale=float(scale))
        if text in ("learned", "fan_in"):
            return bl.priors.Normal(scale=text)  # pyright: ignore
        if text == "hierarchical":
            return bl.priors.HierarchicalNormal()
    except (ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from error
    raise argparse.ArgumentTypeError(f"{text}: must be {PRIORS}")


def guide_option(guide: str, model: bl.BayesianModel) -> dict[str, Any]:
    """Return the option of `fit` for the name of a guide."""
    make = GUIDES[guide]
    return {} if make is None else {"guide": make(model)}


def test_log_likelihood(log_p: torch.Tensor, y_std: float) -> float:
    """Average the log predictive density over the test rows, in the units of y."""
    # the mean over n of log(mean over s of p(y_n | x_n, w_s)), minus log(std of y)
    rows = torch.logsumexp(log_p.double(), 0) - math.log(len(log_p))
    return float(rows.mean()) - math.log(y_std)


def measure(
    x: np.ndarray, y: np.ndarray, test: np.ndarray, split: int, guide: str, prior: str, max_steps: int | None
) -> Record:
    """Fit on the training rows of a split, and score on its test rows."""
    start = time.perf_counter()
    (x_train, x_test), _, _ = standardize(x[~test], x[test])
    (y_train, y_test), mean, std = standardize(y[~test], y[test])
    model = build(x.shape[1], prior, split)
    options = guide_option(guide, model)
    result = bl.fit(model, x_train, y_train, seed=split, max_steps=max_steps, progress=False, **options)
    fitted = time.perf_counter() - start
    posterior = result.posterior
    predicted = posterior.predict(x_test, num_draws=DRAWS).mean.double().numpy() * std + mean
    log_p = log_likelihood(posterior.model, posterior.sample(DRAWS), x_test, y_test)
    return {
        "rmse": float(np.sqrt(np.mean((predicted - y[test]) ** 2))),
        "log_likelihood": test_log_likelihood(log_p, float(std)),
        "elbo": result.elbo,
        "steps": result.steps,
        "seconds": fitted,
        "warnings": list(result.warnings),
        **{name: getattr(result, name, None) for name in ("converged", "k_hat", "step_mode")},
    }


def read_results(path: Path, hashes: dict[str, str], code: str) -> list[Record]:
    """Read the results of earlier runs."""
    return [
        row
        for row in read_lines(path)
        if row["code"] == code and row["data"] == hashes.get(row["set"], row["data"])
    ]


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Return mean and standard error over the splits."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.fmean(values), error


def verdict(mean: float, error: float, published: float) -> str:
    """Compare a test log likelihood with a published one."""
    if mean > published:
        return "better"
    return "worse" if mean + error < published or math.isnan(error) else "level"


def table(results: list[Record], key: str, digits: int) -> list[str]:
    """Return the table of one score."""
    lines = [f"| guide, prior | {' | '.join(FILES)} |", "|---|" + "---|" * len(FILES)]
    for guide, prior in dict.fromkeys((row["guide"], row["prior"]) for row in results):
        cells = []
        for name in FILES:
            values = [
                row[key]
                for row in results
                if (row["guide"], row["prior"], row["set"]) == (guide, prior, name)
            ]
            cells.append(cell(name, values, key, digits))
        lines.append(f"| {guide}, {prior} | {' | '.join(cells)} |")
    if key == "log_likelihood":
        for source, row in PUBLISHED.items():
            lines.append(f"| published: {source} | {' | '.join(f'{row[name]:.2f}' for name in FILES)} |")
    return lines


def cell(name: str, values: list[float], key: str, digits: int) -> str:
    """Format the scores of one data set."""
    if not values:
        return ""
    mean, error = mean_and_error(values)
    text = f"{mean:.{digits}f}{'' if math.isnan(error) else f' ± {error:.{digits}f}'} ({len(values)})"
    if key != "log_likelihood":
        return text
    return f"{text}; {', '.join(verdict(mean, error, row[name]) for row in PUBLISHED.values())}"


def page(record: Record) -> str:
    """Return the report as Markdown."""
    results = record["results"]
    seconds = [row["seconds"] for row in results]
    flagged = sum(row["converged"] is False for row in results)
    lines = [
        "# Quality on four UCI data sets",
        "",
        f"Made by `{record['command']}` on {record['date']}. Every number is in `quality.json`.",
        "",
        "The configuration is the same for all data sets: x and y standardized by the training rows, one hidden "
        f"layer of 50 ReLU units, Normal noise with a learned scale, `bl.fit` at its defaults, {DRAWS} draws. The "
        "splits are the 20 of Hernandez-Lobato & Adams (2015). Mean ± standard error over the splits (number of "
        "splits).",
        "",
        "## Test log likelihood, nats per row, in the units of y: higher is better",
        "",
        *table(results, "log_likelihood", 3),
        "",
        f"The words compare with {' and with '.join(PUBLISHED)}; `level` means lower by less than a standard error.",
        "",
        "## RMSE, in the units of y: lower is better",
        "",
        *table(results, "rmse", 3),
        "",
        f"{len(results)} fits; median {statistics.median(seconds):.1f} s; {flagged} were reported as not converged."
        if results
        else "No fits yet.",
        "",
        f"- Versions: {listed_versions(record)}",
        f"- SHA-256 of the library's code: {record['code']}",
        *(f"- SHA-256 of {name}: {value}" for name, value in record["sha256"].items()),
    ]
    return "\n".join(lines) + "\n"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with one .npz file per data set")
    parser.add_argument(
        "--sets", type=parse_sets, default=list(FILES), help="names separated by commas (default: all)"
    )
    parser.add_argument("--splits", type=int, default=20, help="number of splits (%(default)s)")
    parser.add_argument("--guide", choices=GUIDES, default="default")
    parser.add_argument("--prior", type=checked_prior, default="default", help=PRIORS)
    parser.add_argument(
        "--max-steps", type=int, help="largest number of steps of each fit, to try this script"
    )
    return parser.parse_args(arguments)


def parse_sets(text: str) -> list[str]:
    """Parse the option `--sets`."""
    names = text.split(",")
    if unknown := sorted(set(names) - set(FILES)):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known are {', '.join(FILES)}")
    return names


def checked_prior(text: str) -> str:
    """Check the option `--prior`."""
    parse_prior(text)
    return text


def main(arguments: list[str] | None = None) -> None:
    """Run the splits that have no result yet, and write the report."""
    options = parse_arguments(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    lines, code = options.output / "quality.jsonl", code_hash()
    paths = {name: options.data / f"{FILES[name]}.npz" for name in FILES}
    hashes = {name: hashlib.sha256(p.read_bytes()).hexdigest() for name, p in paths.items() if p.exists()}
    record: Record = {
        **record_head(
            f"scripts/benchmark_quality.py --data DATA --sets {','.join(options.sets)} "
            f"--splits {options.splits} --guide {options.guide} --prior {options.prior}"
        ),
        "code": code,
        "sha256": hashes,
        "results": [
            row for row in read_results(lines, hashes, code) if row["max_steps"] == options.max_steps
        ],
    }
    kind = {"guide": options.guide, "prior": options.prior, "max_steps": options.max_steps}
    for name in options.sets:
        x, y, masks = load(options.data, name)
        for split, test in enumerate(masks[: options.splits]):
            key = {"set": name, "split": split, **kind}
            if any(row.items() >= key.items() for row in record["results"]):
                continue
            scores = measure(x, y, test, split, options.guide, options.prior, options.max_steps)
            row = {**key, **scores, "data": hashes[name], "code": code}
            append(lines, row)
            record["results"].append(row)
            print(
                f"{name} {split}: log likelihood {row['log_likelihood']:.3f}  RMSE {row['rmse']:.3f}  "
                f"{row['seconds']:.1f} s",
                flush=True,
            )
        write_results(options.output, "quality", record, page(record))
    write_results(options.output, "quality", record, page(record))
    print(page(record))


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("interrupted: run it again to resume") from None
