#!/usr/bin/env python3
"""Compare `bl.fit` at its defaults with the best ELBO known of each problem of a suite, and with plain training.

The suite (`optima/problems.py`): one to four hidden layers, tanh, ReLU and GELU, every likelihood, convolutions,
recurrence, attention, 100 to 50,000 rows. The UCI sets are part of it with `--data FOLDER`, where FOLDER/uci/NAME.npz
has the arrays x and y; without it they are left out. Each problem is fitted from several initializations. The ELBO of a
fit is measured anew, on draws that the fit has not seen.

The best-known ELBOs are in `optima/best_known.json`, each with how it was found. `--search NAME` looks for a better one
by brute force and replaces the entry if the new one is better by more than the standard errors of both.

The time of a fit is compared with that of a deterministic Adam run of the same network in the same process
(`optima/deterministic.py`): rate 0.01, all rows in a step up to 2048, else minibatches of 256, weight decay 1 / N (the
same N(0, 1) priors). It is on its plateau as soon as 1 % of its whole improvement is left; it ends when the second half
of its epochs brought no more than 1 % of the improvement.

Writes optima.md and optima.json, and each result at once to optima.jsonl; a run that is started again resumes there.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

from _environment import ensure

ensure("report")

import torch

import bayesian_layers as bl
from _benchmarking import (
    Record,
    append,
    benchmark_parser,
    code_hash,
    read_lines,
    record_head,
    write_results,
)
from optima import deterministic
from optima.problems import SUITE, Problem, described, is_regression
from optima.search import measured, read, record, search
from optima.summary import judged, page, reached


def fit_once(name: str, problem: Problem, data: tuple[torch.Tensor, torch.Tensor], seed: int) -> Record:
    """Fit from one initialization, measure its ELBO, and train the same network without uncertainty."""
    x, y = data
    model = problem.build(seed)
    row: Record = {"problem": name, "seed": seed, "rows": len(y), "is": described(x, y, model)}
    start = time.perf_counter()
    try:
        result = bl.fit(model, x, y, seed=seed, progress=False)
    except bl.errors.DivergenceError as error:
        return {**row, "error": str(error), "seconds": time.perf_counter() - start}
    row["seconds"] = time.perf_counter() - start
    plateau = deterministic.run(model, x, y, seed)
    posterior = result.posterior
    row["elbo"], row["stderr"] = measured(posterior.model, posterior.source, x, y, seed=3)
    row |= {
        "said_elbo": result.elbo,
        "said_stderr": result.elbo_stderr,
        "converged": result.converged,
        "gap": result.gap,
        "tolerance": result.tolerance,
        "steps": result.steps,
        "estimator": result.estimator,
        "step_mode": result.step_mode,
        "deterministic_seconds": plateau.seconds,
        "deterministic_epochs": plateau.epochs,
        "deterministic_loss": plateau.loss,
    }
    if is_regression(problem):
        row["rmse"] = float((posterior.predict(x).mean - y).square().mean().sqrt())
    return row


def fit_all(
    options: argparse.Namespace, names: list[str], path: Path, code: str
) -> tuple[list[Record], list[str]]:
    """Run the fits that have no result yet; return all results, and what was left out."""
    wanted = {(name, seed) for name in names for seed in range(options.seeds)}
    rows = [
        row for row in read_lines(path) if row["code"] == code and (row["problem"], row["seed"]) in wanted
    ]
    left_out = []
    for name in names:
        try:
            data = SUITE[name].load(options.data)
        except FileNotFoundError as error:
            left_out.append(f"{name}: {error}")
            print(left_out[-1], flush=True)
            continue
        for seed in range(options.seeds):
            if any((row["problem"], row["seed"]) == (name, seed) for row in rows):
                continue
            rows.append({**fit_once(name, SUITE[name], data, seed), "code": code})
            append(path, rows[-1])
            print(line(rows[-1]), flush=True)
    order = {name: place for place, name in enumerate(names)}
    return sorted(rows, key=lambda row: (order[row["problem"]], row["seed"])), left_out


def line(row: Record) -> str:
    """Return the line that is printed after each fit."""
    head = f"{row['problem']} {row['seed']}: "
    if "error" in row:
        return f"{head}{row['error']}; {row['seconds']:.1f} s"
    rmse = f", RMSE {row['rmse']:.3f}" if "rmse" in row else ""
    return (
        f"{head}{row['elbo']:.2f} ± {row['stderr']:.2f}{rmse}, {'converged' if row['converged'] else 'flagged'}, "
        f"{row['seconds']:.1f} s; deterministic {row['deterministic_seconds']:.2f} s"
    )


def search_all(options: argparse.Namespace) -> None:
    """Search for better ELBOs, and write those that are."""
    for name in options.search:
        data = SUITE[name].load(options.data)
        entry = search(
            name, SUITE[name], data, options.starts, options.steps, lambda text: print(text, flush=True)
        )
        written = record(name, entry)
        print(
            f"{name}: {entry['elbo']:.2f} ± {entry['stderr']:.2f}: {'recorded' if written else 'no better'}"
        )


def parse_names(text: str) -> list[str]:
    """Parse names of problems, separated by commas."""
    names = text.split(",")
    if unknown := sorted(set(names) - set(SUITE)):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known are {', '.join(SUITE)}")
    return names


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--problems", type=parse_names, default=list(SUITE), help="names (default: all)")
    parser.add_argument("--seeds", type=int, default=5, help="initializations of each problem (%(default)s)")
    parser.add_argument("--data", type=Path, help="folder with the folder uci")
    parser.add_argument("--search", type=parse_names, help="names of problems to search for a better ELBO")
    parser.add_argument("--starts", type=int, default=20, help="starts of a search (%(default)s)")
    parser.add_argument("--steps", type=int, default=40_000, help="of the long run of a start (%(default)s)")
    return parser.parse_args(arguments)


def warm_up() -> None:
    """Do once what takes time only once in a process."""
    problem = SUITE["article"]
    (x, y), model = problem.load(None), problem.build(0)
    bl.fit(model, x, y, max_steps=20, progress=False)
    deterministic.run(model, x[:50], y[:50], 0)


def main(arguments: list[str] | None = None) -> int:
    """Run the fits or the searches, and return the exit status."""
    options = parse_arguments(arguments)
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the results contain the warnings
        if options.search:
            search_all(options)
            return 0
        warm_up()
        options.output.mkdir(parents=True, exist_ok=True)
        code = code_hash()
        rows, left_out = fit_all(options, options.problems, options.output / "optima.jsonl", code)
    known = read()
    shown = "" if options.problems == list(SUITE) else f" --problems {','.join(options.problems)}"
    data = "" if options.data is None else " --data DATA"
    found: Record = {
        **record_head(f"scripts/benchmark_optima.py{data}{shown} --seeds {options.seeds}"),
        "code": code,
        "left_out": left_out,
        "best_known": {name: known[name] for name in options.problems if name in known},
        "rows": judged(rows, known),
    }
    write_results(options.output, "optima", found, page(found))
    print(page(found))
    return int(not reached(found["rows"]))


if __name__ == "__main__":
    raise SystemExit(main())
