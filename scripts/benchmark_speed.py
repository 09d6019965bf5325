#!/usr/bin/env python3
"""Compare the speed of the library with that of its peers, in turns, and write speed.md and speed.json.

There are three parts. `article`: from a fresh process to the fitted posterior of the article's data, N(0, 1) on all 41
weights and biases of its network. `step`: a warm step of the same fit. `mnist_step`: a minibatch step of a
784-400-400-10 network, compared with the deterministic network. Peers are the libraries that scripts/setup_peers has
installed. With all peers the first part takes about half an hour.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from _environment import ensure

ensure()

import numpy as np
import torch

import bayesian_layers as bl
from _benchmarking import Record, benchmark_parser, cpu_model, record_head, write_results
from _hashing import hash_of
from peers import environments
from peers.calling import OURS, call, unavailable
from peers.environments import PEERS
from peers.referee import elbo

BEST_KNOWN = -64.73  # the best known mean-field ELBO, in nats
REACHED = -64.93  # the median that a recipe must reach to count
RECIPES = {
    "numpyro": ("svi.run", "init compiled", "init compiled, XLA level 0"),
    "pyro": ("16 particles, 1000 steps", "16 particles, 1500 steps"),
    "tfp": ("1 particle, 5000 steps", "1 particle, 10000 steps"),
}
ONE_PARTICLE = "pyro, one particle"
MODES = (None, "eager", "captured", "compiled")
PARTICLES = (1, 16)
ON_TORCH = ("torchbnn", "bayesian-torch", "blitz")
PARTS = ("article", "step", "mnist_step")


def article(seed: int, base: Record, peers: list[str], max_steps: int | None) -> list[Record]:
    """Fit once with every program and recipe."""
    x, y = bl.datasets.parabola()
    rows = []
    runs = [(OURS, None), *((name, recipe) for name in peers for recipe in RECIPES.get(name, ()))]
    for name, recipe in runs:
        request = {**base, "task": "article", "seed": seed, "recipe": recipe, "max_steps": max_steps}
        answer = call(name, request)
        if "loc" in answer:
            answer["elbo"], answer["elbo_stderr"] = elbo(answer.pop("loc"), answer.pop("scale"), x, y)
        rows.append({"program": name, "recipe": recipe, "seed": seed, **answer})
    if "pyro" in peers:
        answer = call("pyro", {**base, "task": "one_particle", "seed": seed, "measured_steps": 1000})
        rows.append({"program": ONE_PARTICLE, "recipe": "30000 steps", "seed": seed, **answer})
    return rows


def step(seed: int, base: Record, peers: list[str]) -> list[Record]:
    """Time a warm step of every program that fits the article's network."""
    rows = []
    for particles in PARTICLES:
        runs = [(OURS, mode) for mode in MODES]
        runs += [(name, None) for name in peers if name in RECIPES and (name != "tfp" or particles == 1)]
        for name, mode in runs:
            request = {
                **base,
                "task": "step",
                "seed": seed,
                "particles": particles,
                "mode": mode,
                "steps": 200,
            }
            rows.append({
                "program": name, "mode": mode, "particles": particles, "seed": seed, **call(name, request)
            })  # fmt: skip
    return rows


def mnist_step(seed: int, base: Record, peers: list[str]) -> list[Record]:
    """Time a minibatch step of every program on torch."""
    runs = [*((OURS, mode) for mode in MODES), *((name, None) for name in peers if name in ON_TORCH)]
    rows = []
    for name, mode in runs:
        request = {**base, "task": "mnist_step", "seed": seed, "mode": mode, "steps": 20}
        rows.append({"program": name, "mode": mode, "seed": seed, **call(name, request)})
    return rows


def grouped(rows: Iterable[Record], *keys: str) -> dict[tuple[Any, ...], list[Record]]:
    """Group rows, in the order of their first appearance."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(key) for key in keys), []).append(row)
    return groups


def median(rows: list[Record], key: str) -> float | None:
    """Take the median over the rows that have a value."""
    values = [row[key] for row in rows if row.get(key) is not None]
    return statistics.median(values) if values else None


def failure(rows: list[Record]) -> str | None:
    """Return the error of a group of rows, if one of them failed."""
    return next((row["error"] for row in rows if "error" in row), None)


def best_recipe(rows: list[Record], program: str) -> str | None:
    """Return a program's fastest recipe among those whose median ELBO reaches the optimum."""
    times = {}
    for (name, recipe), group in grouped(rows, "program", "recipe").items():
        reached = median(group, "elbo")
        if name == program and failure(group) is None and reached is not None and reached >= REACHED:
            times[recipe] = median(group, "seconds")
    return min(times, key=times.__getitem__) if times else None


def article_table(rows: list[Record]) -> list[str]:
    """Return the table of the part `article`."""
    groups = grouped(rows, "program", "recipe")
    own = groups.get((OURS, None), [])
    lines = [
        "| program | recipe | seconds | times ours | CPU seconds | ELBO | worst | within 0.1 | within 0.15, or "
        "reported as not converged |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (program, recipe), group in groups.items():
        best = program != OURS and recipe is not None and best_recipe(rows, program) == recipe
        name = f"{recipe or 'default'}{', **best**' if best else ''}"
        if (reason := failure(group)) is not None:
            lines.append(f"| {program} | {name} | not available: {reason} | | | | | | |")
            continue
        seconds = [row["seconds"] for row in group]
        same = median([row for row in own if row["seed"] in {each["seed"] for each in group}], "seconds")
        ratio = "" if same is None else f"{statistics.median(seconds) / same:.1f}"
        spread = f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
        cells = [program, name, spread, ratio, number(median(group, "cpu_seconds"), 2), *elbo_cells(group)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def elbo_cells(group: list[Record]) -> list[str]:
    """Format the ELBOs of one program and recipe."""
    values = [row["elbo"] for row in group if "elbo" in row]
    if not values:
        return ["not measured", "", "", ""]
    near = sum(value >= BEST_KNOWN - 0.1 for value in values)
    reported = sum(row["elbo"] >= BEST_KNOWN - 0.15 or row.get("converged") is False for row in group)
    middle = statistics.median(values)
    return [f"{middle:.2f}", f"{min(values):.2f}", f"{near} of {len(values)}", f"{reported} of {len(values)}"]


def number(value: float | None, digits: int) -> str:
    """Format a number that may be missing."""
    return "" if value is None else f"{value:.{digits}f}"


def mode_of(program: str, mode: str | None, group: list[Record]) -> str:
    """Return the requested step mode, and the one that ran if it is different."""
    if program != OURS:
        return ""
    ran = next((row["step_mode"] for row in group if row.get("step_mode")), None)
    requested = mode or "default"
    return requested if ran in (None, mode) else f"{requested}: {ran}"


def step_table(rows: list[Record]) -> list[str]:
    """Return the table of the part `step`."""
    lines = ["| program | mode | particles | ms per step |", "|---|---|---|---|"]
    for (program, mode, particles), group in grouped(rows, "program", "mode", "particles").items():
        reason = failure(group)
        cell = number(median(group, "ms"), 3) if reason is None else f"not available: {reason}"
        lines.append(f"| {program} | {mode_of(program, mode, group)} | {particles} | {cell} |")
    return lines


def mnist_table(rows: list[Record]) -> list[str]:
    """Return the table of the part `mnist_step`."""
    lines = ["| program | mode | ms per step | deterministic, ms | ratio |", "|---|---|---|---|---|"]
    for (program, mode), group in grouped(rows, "program", "mode").items():
        head = f"| {program} | {mode_of(program, mode, group)} |"
        if (reason := failure(group)) is not None:
            lines.append(f"{head} not available: {reason} | | |")
            continue
        values = [number(median(group, key), 2) for key in ("ms", "deterministic_ms", "ratio")]
        lines.append(f"{head} {' | '.join(values)} |")
    return lines


def page(record: Record) -> str:
    """Return the report as Markdown."""
    named = {
        name: ", ".join(f"{k} {v}" for k, v in found.items()) for name, found in record["versions"].items()
    }
    lines = [
        "# Speed",
        "",
        f"Made by `{record['command']}` on {record['date']}; {record['cpu']}, {record['threads']} thread(s) "
        f"per process and as many cores. Every number is in `speed.json`.",
        "",
        f"## The article's data, from a fresh process to the posterior, {record['seeds']} seeds",
        "",
        "N(0, 1) on all 41 weights and biases of the 2-10-1 network. Seconds: for ours, from the end of `import "
        "bayesian_layers` to the end of `fit`; for a peer, from the end of its imports, with the data in memory as "
        "its own arrays, to the end of its fit, including compilation; median (smallest to largest). Nothing is "
        "cached between processes. ELBO: the same formula for all programs, 100,000 new draws, standard error about "
        f"0.02 nats; the best known is {BEST_KNOWN}. Times ours: ratio of the medians over the seeds that both have "
        f"run, in turns. **best**: a peer's fastest recipe whose median ELBO reaches {REACHED}. Pyro's one-particle "
        "loop of 30,000 steps is measured on 1000 steps and multiplied.",
        "",
        *article_table(record["article"]),
        "",
        "## A warm step of the same fit",
        "",
        "Ours: steps 600 to 2900 of `bl.fit`, timed by a callback; the median of ten blocks. Peers: many steps in a "
        "row.",
        "",
        *step_table(record["step"]),
        "",
        "## A minibatch step, 784-400-400-10 ReLU, batch 128",
        "",
        "Compared with `torch.optim.Adam` on the same network without a posterior, in turns in one process. One "
        "draw of the weights per step.",
        "",
        *mnist_table(record["mnist_step"]),
        "",
        "## Versions",
        "",
        *(f"- {name}: {found or 'none'}" for name, found in named.items()),
        *(f"- {name}: not available: {reason}" for name, reason in record["not_available"].items()),
        f"- SHA-256 of the article's data: {record['sha256']}",
    ]
    return "\n".join(lines) + "\n"


def parse_peers(text: str) -> list[str]:
    """Parse the option `--peers`."""
    names = {"all": list(PEERS), "none": []}.get(text, text.split(","))
    if unknown := sorted(set(names) - set(PEERS)):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known are {', '.join(PEERS)}")
    return names


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="seeds of the part `article` (%(default)s)")
    parser.add_argument(
        "--peer-seeds", type=int, default=5, help="how many of these seeds the peers also run (%(default)s)"
    )
    parser.add_argument(
        "--step-seeds", type=int, default=3, help="rounds of the two other parts (%(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="threads and cores of each process (%(default)s)"
    )
    parser.add_argument(
        "--peers",
        type=parse_peers,
        default="all",
        help="all, none, or names separated by commas (%(default)s)",
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--max-steps", type=int, help="largest number of steps of our fit in `article`, to try this script"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the selected parts; results are written after each round."""
    options = parse_arguments(arguments)
    reasons = {name: reason for name in options.peers if (reason := unavailable(name))}
    x, y = bl.datasets.parabola()
    head = record_head(
        f"scripts/benchmark_speed.py --seeds {options.seeds} --peer-seeds {options.peer_seeds} "
        f"--step-seeds {options.step_seeds} --threads {options.threads} "
        f"--peers {','.join(options.peers) or 'none'} --parts {' '.join(options.parts)}"
    )
    record: Record = {
        **head,
        "cpu": cpu_model(),
        "threads": options.threads,
        "seeds": 0,
        "versions": {OURS: head["versions"], **{name: environments.versions(name) for name in options.peers}},
        "not_available": reasons,
        "sha256": hash_of(x, y),
        **{part: [] for part in PARTS},
    }
    with tempfile.TemporaryDirectory() as folder:
        base = {"threads": options.threads, "data": str(Path(folder) / "article.npz")}
        np.savez(base["data"], x=x.numpy(), y=y.numpy())
        for seed in range(options.seeds if "article" in options.parts else 0):
            peers = options.peers if seed < options.peer_seeds else []
            record["article"] += article(seed, base, peers, options.max_steps)
            record["seeds"] = seed + 1
            write_results(options.output, "speed", record, page(record))
            print(f"article: seed {seed} of {options.seeds} is done", flush=True)
        for name, part in (("step", step), ("mnist_step", mnist_step)):
            for seed in range(options.step_seeds if name in options.parts else 0):
                record[name] += part(seed, base, options.peers)
                write_results(options.output, "speed", record, page(record))
                print(f"{name}: round {seed} of {options.step_seeds} is done", flush=True)
    write_results(options.output, "speed", record, page(record))
    print(page(record))


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("interrupted: the report has the finished rounds") from None
