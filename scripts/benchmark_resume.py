#!/usr/bin/env python3
"""Kill fits with SIGKILL at random times, run the same call again, and check that the results are the same to the bit.

For each step mode, and in turns for full batches and for minibatches with a smaller last batch: one fit that is never
stopped, without a checkpoint; then fits that write a checkpoint after every step and are killed, most of them during
the steps, every fifth at any time after the start of the call. Writes resume.md and resume.json. 25 kills per mode take
about 15 minutes, most of it for the compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _environment import ensure

ensure()

import numpy as np
import torch
from torch import nn

import bayesian_layers as bl
from _benchmarking import Record, benchmark_parser, listed_versions, record_head, write_results
from bayesian_layers.noise import seeded

MODES = ("eager", "captured", "compiled")
BATCHES = (None, 48)  # of 200 rows: the last batch has 8
STEPS = 160


def work(mode: str, batch_size: int | None, folder: Path, name: str, checkpoint: bool) -> None:
    """Fit once, and print when the call and the steps start."""
    torch.set_num_threads(1)
    x, y = bl.datasets.parabola()
    with seeded(0):
        network = nn.Sequential(bl.Linear(2, 10), nn.Tanh(), bl.Linear(10, 1))
    model = bl.BayesianModel(network, bl.likelihoods.Bernoulli())
    guide = bl.guides.MeanFieldNormal(model)
    seen: list[int] = []

    def note(progress: Any) -> None:
        if not seen:
            print("steps", progress.step, flush=True)
        seen.append(progress.step)

    print("started", flush=True)
    result = bl.fit(
        model, x, y, guide=guide, batch_size=batch_size, max_steps=STEPS, compile=mode, progress=False,
        callbacks=[note], checkpoint=bl.Checkpoint(folder / "checkpoint", every=0.0) if checkpoint else None,
    )  # fmt: skip
    arrays = {key: value.numpy() for key, value in guide.state_dict().items()}
    numbers = {"history": result.history, "elbo": np.array(result.elbo), "log_weights": result.log_weights}
    np.savez(folder / f"{name}.npz", **numbers, **arrays)
    print("mode", result.step_mode, flush=True)


def start(
    mode: str, batch_size: int | None, folder: Path, name: str, checkpoint: bool
) -> subprocess.Popen[str]:
    """Start ``work`` in a process."""
    task = json.dumps([mode, batch_size, str(folder), name, checkpoint])
    command = [sys.executable, "-W", "ignore", __file__, "--worker", task]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def until(process: subprocess.Popen[str], word: str) -> str:
    """Read the output of a process until a line starts with a word, and return the rest of that line."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return line.removeprefix(word).strip()
    return ""


def whole(mode: str, batch_size: int | None, folder: Path, name: str, checkpoint: bool) -> Record:
    """Run a fit to its end."""
    process = start(mode, batch_size, folder, name, checkpoint)
    until(process, "started")
    started = stepping = time.perf_counter()
    first, ran = "", ""
    assert process.stdout is not None
    for line in process.stdout:  # a fit that was finished before takes no step
        word, value = line.split()
        if word == "steps":
            first, stepping = value, time.perf_counter()
        elif word == "mode":
            ran = value
    end = time.perf_counter()
    if process.wait() != 0:
        raise RuntimeError(f"a fit with step mode {mode} failed with status {process.returncode}")
    return {"seconds": end - started, "stepping": end - stepping, "first": int(first or 0), "ran": ran}


def kill(mode: str, batch_size: int | None, folder: Path, *, after: str, seconds: float) -> bool:
    """Start a fit and kill it; return whether it was still running."""
    process = start(mode, batch_size, folder, "killed", True)
    until(process, after)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def same(folder: Path, one: str, other: str) -> bool:
    """Check whether two results are equal to the bit."""
    with np.load(folder / f"{one}.npz") as a, np.load(folder / f"{other}.npz") as b:
        return set(a) == set(b) and all(a[name].tobytes() == b[name].tobytes() for name in a)


def trials(mode: str, kills: int, seed: int, folder: Path) -> list[Record]:
    """Kill and resume fits of one step mode."""
    times = random.Random(f"{seed} {mode}")
    lengths: dict[int | None, Record] = {}
    rows: list[Record] = []
    attempts = 0
    while len(rows) < kills and attempts < 3 * kills:
        attempts += 1
        batch_size = BATCHES[attempts % len(BATCHES)]
        place = folder / f"{mode}-{batch_size}"
        place.mkdir(parents=True, exist_ok=True)
        if batch_size not in lengths:
            whole(mode, batch_size, place, "whole", False)
            lengths[batch_size] = whole(mode, batch_size, place, "kept", True)
            assert same(place, "whole", "kept"), "a checkpoint changes the numbers"
        trial = place / f"trial-{attempts}"
        trial.mkdir()
        early = attempts % 5 == 0
        length = lengths[batch_size]["seconds" if early else "stepping"]
        seconds = times.uniform(0.0, length)
        if not kill(mode, batch_size, trial, after="started" if early else "steps", seconds=seconds):
            continue  # it had ended before
        end = whole(mode, batch_size, trial, "resumed", True)
        (trial / "whole.npz").symlink_to(place / "whole.npz")
        rows.append({
            "mode": mode, "ran": end["ran"], "batch_size": batch_size, "early": early, "seconds": seconds,
            "first_step_after": end["first"], "identical": same(trial, "whole", "resumed"),
        })  # fmt: skip
        print(
            f"{mode}: {len(rows)} of {kills}, {'same' if rows[-1]['identical'] else 'DIFFERENT'} result",
            flush=True,
        )
    return rows


def page(record: Record) -> str:
    """Return the report as Markdown."""
    lines = [
        "# Killed and resumed",
        "",
        f"Made by `{record['command']}` on {record['date']}. Fits of the article's network ({STEPS} steps, in turns "
        "with full batches and with minibatches of 48 of 200 rows), each killed once by SIGKILL at a random time "
        "and started again by the same call, in a new process. Identical: history, every parameter of the guide, "
        "the ELBO and the importance weights are equal to the bit to those of a fit without checkpoint that was not "
        "stopped.",
        "",
        "| step mode | killed | resumed from steps | identical results |",
        "|---|---|---|---|",
    ]
    for mode in record["modes"]:
        rows = [row for row in record["rows"] if row["mode"] == mode]
        # 0: killed before a checkpoint was written, or after the last step.
        steps = sorted(max(row["first_step_after"] - 1, 0) for row in rows)
        ran = sorted({row["ran"] for row in rows} - {mode})
        spread = f"{steps[0]} to {steps[-1]}" if steps else ""
        name = mode if not ran else f"{mode} (ran {', '.join(ran)})"
        lines.append(
            f"| {name} | {len(rows)} | {spread} | {sum(row['identical'] for row in rows)} of {len(rows)} |"
        )
    return (
        "\n".join([*lines, "", f"Seed of the times: {record['seed']}. Versions: {listed_versions(record)}."])
        + "\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Kill fits in every selected mode, write results after each mode, and return the exit status."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--kills", type=int, default=25, help="kills per step mode (%(default)s)")
    parser.add_argument(
        "--modes", default=",".join(MODES), help="step modes, separated by commas (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the times (%(default)s)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        mode, batch_size, folder, name, checkpoint = json.loads(options.worker)
        work(mode, batch_size, Path(folder), name, checkpoint)
        return 0
    modes = options.modes.split(",")
    if unknown := sorted(set(modes) - set(MODES)):
        parser.error(f"unknown modes {', '.join(unknown)}; known are {', '.join(MODES)}")
    record: Record = {
        **record_head(
            f"scripts/benchmark_resume.py --kills {options.kills} --modes {options.modes} --seed {options.seed}"
        ),
        "seed": options.seed,
        "modes": modes,
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for mode in modes:
            record["rows"] += trials(mode, options.kills, options.seed, Path(folder))
            write_results(options.output, "resume", record, page(record))
    print(page(record))
    complete = len(record["rows"]) == options.kills * len(modes)
    return 0 if complete and all(row["identical"] for row in record["rows"]) else 1


if __name__ == "__main__":
    sys.exit(main())
