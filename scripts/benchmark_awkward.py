#!/usr/bin/env python3
"""Fit small awkward problems with `bl.fit` at its defaults, and let an independent loop continue from each result.

The problems (`awkward/problems.py`) come from a seed: every likelihood that takes the output of a plain network, 1 to
500 rows, collinear, duplicated and constant columns, separable and imbalanced targets, bad scales, outliers; linear
networks, one and two hidden layers, tanh, ReLU and GELU. Another seed gives other problems.

A plain Adam loop (`_plain_loop.py`) continues for at least five times the steps of the fit, at three learning rates
side by side. The best of the three is chosen on one set of draws, and its gain over the fit is measured on others,
which both share. A silent miss is a fit that is reported as converged, although the loop gained more than 0.1 nats, 3
standard errors of the gain and the fit's tolerance together. A fit that is reported as not converged is flagged.

Writes awkward.md and awkward.json. `--problems 3,20-25` fits some of the problems.
"""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Callable

from _environment import ensure

ensure()

import torch

import bayesian_layers as bl
from _benchmarking import Record, benchmark_parser, listed_versions, record_head, write_results
from _plain_loop import PlainLoop, elbo_replicates, mean_and_error
from awkward.problems import Problem, make_problem

NATS, ERRORS = 0.1, 3.0  # a gain beyond these and the tolerance is a miss
SILENT, FLAGGED = 0.01, 0.15  # the largest shares to aim at
RATES = (0.003, 0.01, 0.03)
FACTOR, FEWEST = 5, 2000  # steps of the loop: this many times the fit's, and at least this many
MOST_IF_FLAGGED = 5000  # a flagged fit cannot be a silent miss; the loop shows whether the flag was right
SMALL = 50_000  # rows x entries up to which the loop takes four draws per step rather than two
CHOOSE, MEASURE = 2048, 8192  # draws
WORST = 15  # rows of the table


def verdict(converged: bool, gain: float, stderr: float, tolerance: float) -> str:
    """Return ``"flagged"``, ``"sound"`` or ``"silent miss"``; a gain that is not a number is a miss."""
    if not converged:
        return "flagged"
    return "sound" if gain <= NATS + ERRORS * stderr + tolerance else "silent miss"


def loop_steps(steps: int, converged: bool) -> int:
    """Return the number of steps of the loop."""
    wanted = max(FACTOR * steps, FEWEST)
    return wanted if converged else min(wanted, MOST_IF_FLAGGED)


def continue_fit(problem: Problem, result: bl.FitResult, steps: int, seed: int) -> Record:
    """Continue from a result, and measure what was gained."""
    model, guide = result.posterior.model, result.posterior.source
    if not isinstance(guide, bl.guides.Guide):
        raise TypeError(f"a fit must end with a guide; received {type(guide).__name__}")
    rows = len(problem.y)
    loop = PlainLoop(model, guide, problem.x, problem.y, draws=4 if rows * guide.noise_size <= SMALL else 2)

    def replicates(at: bl.guides.Guide, draws: int, seed: int) -> torch.Tensor:
        return elbo_replicates(model, at, problem.x, problem.y, draws=draws, seed=seed)

    ends = loop.run(RATES, steps, seed)
    elbos = [float(replicates(end, CHOOSE, 1).mean()) for end in ends]
    best = max(range(len(ends)), key=lambda i: -math.inf if math.isnan(elbos[i]) else elbos[i])
    gains = replicates(ends[best], MEASURE, 2) - replicates(guide, MEASURE, 2)
    gain, stderr = mean_and_error(gains)
    return {"gain": gain, "stderr": stderr, "rate": RATES[best], "loop_steps": steps}


def measure(seed: int, index: int) -> Record:
    """Make, fit and continue one problem."""
    problem = make_problem(seed, index)
    row: Record = {
        "index": index,
        "name": problem.name,
        "family": problem.family,
        "design": problem.design,
        "network": problem.network,
        "rows": len(problem.y),
    }
    start = time.perf_counter()
    try:
        result = bl.fit(problem.model, problem.x, problem.y, seed=index, progress=False)
    except bl.errors.BayesianLayersError as error:
        return {**row, "error": str(error), "verdict": "flagged", "fit_seconds": time.perf_counter() - start}
    fitted = time.perf_counter()
    found = continue_fit(problem, result, loop_steps(result.steps, result.converged), index)
    return {
        **row,
        "converged": result.converged,
        "elbo": result.elbo,
        "elbo_stderr": result.elbo_stderr,
        "said_gap": result.gap,
        "tolerance": result.tolerance,
        "steps": result.steps,
        **found,
        "verdict": verdict(result.converged, found["gain"], found["stderr"], result.tolerance),
        "fit_seconds": fitted - start,
        "loop_seconds": time.perf_counter() - fitted,
    }


def counts(rows: list[Record]) -> Record:
    """Count the verdicts; silent misses are a share of the fits that are reported as converged."""
    flagged = sum(row["verdict"] == "flagged" for row in rows)
    silent = sum(row["verdict"] == "silent miss" for row in rows)
    converged = len(rows) - flagged
    return {
        "problems": len(rows),
        "converged": converged,
        "silent": silent,
        "silent_share": silent / max(converged, 1),
        "flagged": flagged,
        "flagged_share": flagged / max(len(rows), 1),
    }


def reached(rows: list[Record]) -> bool:
    """Whether both shares are as low as they should be."""
    found = counts(rows)
    return found["silent_share"] <= SILENT and found["flagged_share"] <= FLAGGED


def page(record: Record) -> str:
    """Return the report as Markdown."""
    rows = record["rows"]
    found, measured = counts(rows), [row for row in rows if "gain" in row]
    seconds = [row["fit_seconds"] for row in rows]
    uncertain = sum(not row["stderr"] <= 1 for row in measured)
    lines = [
        "# Small awkward problems, continued by an independent loop",
        "",
        f"Made by `{record['command']}` on {record['date']} in {record['seconds'] / 60:.0f} minutes on one core. "
        f"`bl.fit` at its defaults; then a plain Adam loop continues for at least {FACTOR} times the steps at the "
        f"rates {', '.join(map(str, RATES))}. A silent miss is a fit that is reported as converged, although the loop "
        f"gained more than {NATS} nats + {ERRORS:g} standard errors + the fit's tolerance.",
        "",
        f"- {found['problems']} problems; {found['converged']} reported as converged.",
        f"- Silent misses: {found['silent']}, {found['silent_share']:.1%} of the converged; the aim is {SILENT:.0%}.",
        f"- Flagged: {found['flagged']}, {found['flagged_share']:.1%} of all; the aim is {FLAGGED:.0%}.",
        f"- Gains with a standard error above 1 nat, which say little: {uncertain}.",
        f"- Seconds per fit: median {statistics.median(seconds):.2f}, largest {max(seconds):.1f}, sum "
        f"{sum(seconds):.0f}.",
        "",
        f"## Silent misses, and the largest gains of the loop over converged fits ({WORST} at most)",
        "",
        *table([row for row in measured if row["converged"]], "excess"),
        "",
        f"## Flagged fits, largest gains first ({WORST} at most)",
        "",
        *table([row for row in measured if not row["converged"]], "gain"),
        "",
        *(f"- {row['name']}: {row['error']}" for row in rows if "error" in row),
        f"- Versions: {listed_versions(record)}",
    ]
    return "\n".join(lines) + "\n"


def excess(row: Record) -> float:
    """Return the gain beyond the limit, in nats; a gain that is not a number comes first."""
    beyond = row["gain"] - NATS - ERRORS * row["stderr"] - row["tolerance"]
    return math.inf if math.isnan(beyond) else beyond


def table(rows: list[Record], by: str) -> list[str]:
    """Return the table of the worst fits."""
    order: Callable[[Record], float] = excess if by == "excess" else lambda row: row["gain"]
    lines = [
        "| problem | rows | network | ELBO | gain of the loop | tolerance | steps | seconds | verdict |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=order, reverse=True)[:WORST]:
        lines.append(
            f"| {row['name']} | {row['rows']} | {row['network']} | {row['elbo']:.2f} | {row['gain']:.2f} ± "
            f"{row['stderr']:.2f} | {row['tolerance']:.2f} | {row['steps']} | {row['fit_seconds']:.1f} | "
            f"{row['verdict']} |"
        )
    return lines


def line(row: Record) -> str:
    """Return the line that is printed after each problem."""
    if "error" in row:
        return f"{row['name']}: {row['error']}; {row['fit_seconds']:.1f} s; {row['verdict']}"
    return (
        f"{row['name']}: gain {row['gain']:.3f} ± {row['stderr']:.3f}, tolerance {row['tolerance']:.2f}; "
        f"{row['fit_seconds']:.1f} s + {row['loop_seconds']:.1f} s; {row['verdict']}"
    )


def parse_numbers(text: str) -> list[int]:
    """Parse numbers and ranges, such as ``3,20-25``."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        try:
            numbers += range(int(first), int(last or first) + 1)
        except ValueError:
            raise ValueError(f"--problems must be numbers such as 3,20-25; received {text}") from None
    return numbers


def main(arguments: list[str] | None = None) -> int:
    """Fit all problems, write the report, and return the exit status."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--problems", default="0-149", help="numbers and ranges (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the problems (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        numbers = parse_numbers(options.problems)
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(1)
    start, rows = time.perf_counter(), []
    for index in numbers:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the result contains the warnings
            row = measure(options.seed, index)
        rows.append(row)
        print(line(row), flush=True)
    record: Record = {
        **record_head(f"scripts/benchmark_awkward.py --problems {options.problems} --seed {options.seed}"),
        "seconds": time.perf_counter() - start,
        **counts(rows),
        "rows": rows,
    }
    write_results(options.output, "awkward", record, page(record))
    print(page(record))
    return int(not reached(rows))


if __name__ == "__main__":
    raise SystemExit(main())
