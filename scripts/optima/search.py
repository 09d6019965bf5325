"""Brute force for the best ELBO of a problem: many starts of several kinds, many steps, and rates that end small."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

import bayesian_layers as bl
from _benchmarking import record_head
from _plain_loop import elbo_replicates, mean_and_error
from bayesian_layers.saving import atomic
from optima import deterministic
from optima.problems import Problem, described

KNOWN = Path(__file__).with_name("best_known.json")
Start = Callable[[bl.BayesianModel, Tensor, Tensor, int], bl.guides.Guide]
Best = dict[str, Any]

PARTICLES, RATE, ENDS = 4, 0.01, (0.003, 0.001)  # of the long run, and of what follows it
MEANS_STEPS, MODE_STEPS = 1500, 3000
BATCH, MOST_ROWS = 512, 10_000
WORK, FEWEST, MOST = 2**30, 64, 8192  # rows x parameters x draws of a measurement, and its draws
FIRST_SEED = 1000  # the seeds of a search are not those of the suite


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
    return mean_and_error(elbo_replicates(model, guide, x, y, draws=draws, seed=seed))


def improve(
    model: bl.BayesianModel, guide: bl.guides.Guide, x: Tensor, y: Tensor, steps: int, seed: int
) -> int:
    """Train a guide for many steps, then at smaller rates; return the steps that were taken."""
    taken = 0
    for rate, share in ((RATE, 1.0), *((end, 0.5) for end in ENDS)):
        result = bl.fit(
            model,
            x,
            y,
            guide=guide,
            seed=seed + taken,
            learning_rate=rate,
            max_steps=max(2, round(share * steps)),
            **options(len(y)),
        )
        taken += result.steps
    return taken


def search(
    name: str,
    problem: Problem,
    data: tuple[Tensor, Tensor],
    starts: int,
    steps: int,
    say: Callable[[str], None],
) -> Best:
    """Try all starts, and return the best with how it was found."""
    (x, y), began, best = data, time.perf_counter(), None
    kinds = list(STARTS)
    for number in range(starts):
        kind, seed = kinds[number % len(kinds)], FIRST_SEED + number
        model = problem.build(seed)
        try:
            guide = STARTS[kind](model, x, y, seed)
            taken = improve(model, guide, x, y, steps, seed)
        except bl.errors.DivergenceError as error:
            say(f"{name} {number}: {kind}: {error}")
            continue
        elbo, stderr = measured(model, guide, x, y, seed=1)
        say(f"{name} {number}: {kind}: {elbo:.2f} ± {stderr:.2f}, {taken} steps")
        if math.isfinite(elbo) and (best is None or elbo > best[0]):
            best = elbo, model, guide, kind, seed, taken
    if best is None:
        raise RuntimeError(f"no start of {name} ended with a finite ELBO")
    _, model, guide, kind, seed, taken = best
    elbo, stderr = measured(model, guide, x, y, seed=2)  # anew: the best of many estimates is too good
    return {
        "elbo": round(elbo, 3),
        "stderr": round(stderr, 3),
        "problem": described(x, y, model),
        "method": f"local reparameterization, {PARTICLES} particles, rates {RATE}, {', '.join(map(str, ENDS))}",
        "start": f"{kind}, seed {seed}",
        "starts": starts,
        "steps": taken,
        "seconds": round(time.perf_counter() - began),
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


def record(name: str, entry: Best, path: Path = KNOWN) -> bool:
    """Write an entry if it is better; return whether it was."""
    known = read(path)
    if not is_better(entry, known.get(name)):
        return False
    known[name] = entry
    with atomic.new_file(path) as file:
        file.write((json.dumps(dict(sorted(known.items())), indent=1) + "\n").encode())
    return True
