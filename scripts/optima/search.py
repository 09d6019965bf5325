"""Brute force for the best ELBO of a problem: many starts of several kinds, many steps, and rates that end small."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

import bayesian_layers as bl
from _benchmarking import record_head
from _plain_loop import elbo_replicates, mean_and_error
from bayesian_layers.saving import atomic
from optima import deterministic
from optima.data import Data
from optima.problems import Problem, described

KNOWN = Path(__file__).with_name("best_known.json")
Start = Callable[[bl.BayesianModel, Tensor, Tensor, int], bl.guides.Guide]
Best = dict[str, Any]
Say = Callable[[str], None]

PARTICLES, RATE, ENDS = 4, 0.01, (0.003, 0.001)  # of the long run, and of what follows it
MEANS_STEPS, MODE_STEPS = 1500, 3000
BATCH, MOST_ROWS = 512, 10_000
WORK, FEWEST, MOST = 2**30, 64, 8192  # rows x parameters x draws of a measurement, and its draws
BLOCKS = 8  # of rows, each with draws of its own: a third of the error for the same work
FIRST_SEED = 1000  # the seeds of a search are not those of the suite


@dataclass
class Run:
    """A guide that a search trains, and how far it has come."""

    model: bl.BayesianModel
    guide: bl.guides.Guide
    kind: str
    seed: int
    steps: int = 0
    elbo: float = -math.inf
    stderr: float = 0.0

    @property
    def rank(self) -> float:
        """The ELBO less two standard errors; minus infinity if it is not finite."""
        low = self.elbo - 2 * self.stderr
        return low if math.isfinite(low) else -math.inf

    def __str__(self) -> str:
        return f"{self.kind}, seed {self.seed}: {self.elbo:.2f} ± {self.stderr:.2f}, {self.steps} steps"


def options(rows: int) -> dict[str, Any]:
    """Return what all fits of a search share."""
    return {
        "estimator": "local",
        "particles": PARTICLES,
        "batch_size": BATCH if rows > MOST_ROWS else None,
        "progress": False,
    }


def fixed(std: float) -> Start:
    """Return a start whose means are trained while all standard deviations have one value."""

    def start(model: bl.BayesianModel, x: Tensor, y: Tensor, seed: int) -> bl.guides.Guide:
        guide = bl.guides.MeanFieldNormal(model, init_scale=std)
        guide.log_scale.requires_grad_(False)
        bl.fit(
            model,
            x,
            y,
            guide=guide,
            seed=seed,
            learning_rate=RATE,
            max_steps=MEANS_STEPS,
            **options(len(y)),
        )
        guide.log_scale.requires_grad_(True)
        return guide

    return start


def mode(model: bl.BayesianModel, x: Tensor, y: Tensor, seed: int) -> bl.guides.Guide:
    """Start at the posterior's mode, with standard deviations of 2 % of the weights."""
    at = deterministic.trained(model, x, y, MODE_STEPS, seed)
    return bl.guides.MeanFieldNormal.from_pretrained(at, 0.02, floor=1e-3)


def default(model: bl.BayesianModel, x: Tensor, y: Tensor, seed: int) -> bl.guides.Guide:
    """Start where the default fit ends."""
    guide = bl.guides.MeanFieldNormal(model)
    guide.load_state_dict(bl.fit(model, x, y, seed=seed, progress=False).posterior.source.state_dict())
    return guide


STARTS: dict[str, Start] = {
    **{f"standard deviations fixed at {std:g}": fixed(std) for std in (0.05, 0.1, 0.2)},
    "mode": mode,
    "default fit": default,
}


def measured(
    model: bl.BayesianModel, guide: bl.guides.Guide, x: Tensor, y: Tensor, seed: int
) -> tuple[float, float]:
    """Estimate the ELBO with its standard error, on as many draws as the size of the problem allows."""
    draws = min(MOST, max(FEWEST, WORK // (len(y) * max(guide.noise_size, 1))))
    return mean_and_error(elbo_replicates(model, guide, x, y, draws=draws, seed=seed, blocks=BLOCKS))


def train(run: Run, x: Tensor, y: Tensor, rate: float, steps: int) -> None:
    """Train a guide at one rate, and measure it; one that diverges is of no use."""
    try:
        result = bl.fit(
            run.model,
            x,
            y,
            guide=run.guide,
            seed=run.seed + run.steps,
            learning_rate=rate,
            max_steps=max(2, steps),
            **options(len(y)),
        )
    except bl.errors.DivergenceError:
        run.elbo = -math.inf
        return
    run.steps += result.steps
    run.elbo, run.stderr = measured(run.model, run.guide, x, y, seed=1)


def begin(name: str, problem: Problem, x: Tensor, y: Tensor, starts: int, steps: int, say: Say) -> list[Run]:
    """Train from all starts, whose kinds take turns."""
    runs: list[Run] = []
    for number in range(starts):
        kind, seed = list(STARTS)[number % len(STARTS)], FIRST_SEED + number
        model = problem.build(seed)
        try:
            guide = STARTS[kind](model, x, y, seed)
        except bl.errors.DivergenceError as error:
            say(f"{name}: {kind}, seed {seed}: {error}")
            continue
        runs.append(Run(model, guide, kind, seed))
        train(runs[-1], x, y, RATE, steps)
        say(f"{name}: {runs[-1]}")
    return runs


def search(name: str, problem: Problem, data: Data, starts: int, steps: int, say: Say) -> Best:
    """Train from all starts for a quarter of the steps, the best quarter of them on, and return the best."""
    (x, y), began = data, time.perf_counter()
    runs = begin(name, problem, x, y, starts, steps // 4, say)
    chosen = sorted(runs, key=lambda run: -run.rank)[: max(2, starts // 4)]
    for run in chosen:
        for rate, share in ((RATE, 1.0), *((end, 0.5) for end in ENDS)):
            if run.elbo > -math.inf:
                train(run, x, y, rate, round(share * steps))
        say(f"{name}: {run}, the end")
    best = max(chosen, key=lambda run: run.rank, default=None)
    if best is None or not math.isfinite(best.rank):
        raise RuntimeError(f"no start of {name} ended with a finite ELBO")
    seconds = round(time.perf_counter() - began)
    return {**entry(best, x, y), "starts": starts, "steps": best.steps, "seconds": seconds}


def entry(best: Run, x: Tensor, y: Tensor) -> Best:
    """Describe the best run; its ELBO is measured anew, since the best of many estimates is too good."""
    elbo, stderr = measured(best.model, best.guide, x, y, seed=2)
    rates = ", ".join(map(str, (RATE, *ENDS)))
    return {
        "elbo": round(elbo, 3),
        "stderr": round(stderr, 3),
        "problem": described(x, y, best.model),
        "method": f"local reparameterization, {PARTICLES} particles, rates {rates}; a quarter of the steps from each "
        "start, and on from the best quarter of them",
        "start": f"{best.kind}, seed {best.seed}",
        **{key: value for key, value in record_head("").items() if key != "command"},
    }


def is_better(new: Best, old: Best | None) -> bool:
    """Whether an entry is to replace another: it is of another problem, or better by more than both errors."""
    if old is None or old["problem"] != new["problem"]:
        return True
    return new["elbo"] - old["elbo"] > math.hypot(new["stderr"], old["stderr"])


def read(path: Path = KNOWN) -> dict[str, Best]:
    """Read the best-known ELBOs."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def record(name: str, new: Best, path: Path = KNOWN) -> bool:
    """Write an entry if it is better; return whether it was."""
    known = read(path)
    if not is_better(new, known.get(name)):
        return False
    known[name] = new
    with atomic.new_file(path) as file:
        file.write((json.dumps(dict(sorted(known.items())), indent=1) + "\n").encode())
    return True
