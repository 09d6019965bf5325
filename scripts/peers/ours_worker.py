"""bayesian-layers itself, spoken to as its peers are."""

from __future__ import annotations

import inspect
import statistics
from typing import Any

from protocol import clock, serve, since

import bayesian_layers as bl

imported = clock()

import numpy as np
import torch
from torch import nn

SIZES = (300, 1300)  # of the two fits whose difference is the steps alone
LEAST = 0.5  # seconds that this difference must have
MOST = 200_000  # steps


def build(seed: int) -> bl.BayesianModel:
    """Build the article's network, N(0, 1) on all its weights and biases.

    Args:
        seed: Of the initial values.

    Returns:
        The model.
    """
    torch.manual_seed(seed)
    prior = bl.priors.Normal(scale=1.0)
    network = nn.Sequential(bl.Linear(2, 10, prior=prior), nn.Tanh(), bl.Linear(10, 1, prior=prior))
    return bl.BayesianModel(network, bl.likelihoods.Bernoulli())


def load(request: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Read the data.

    Args:
        request: With ``data`` and ``threads``.

    Returns:
        Inputs and labels.
    """
    torch.set_num_threads(request["threads"])
    with np.load(request["data"]) as arrays:
        return torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])


def article(request: dict[str, Any]) -> dict[str, Any]:
    """Fit with no setting but the seed; the clock runs from after the import to the end of `fit`.

    Args:
        request: With ``data``, ``seed``, ``threads``, and ``max_steps`` (or null).

    Returns:
        The time, q, and what the fit says about itself.
    """
    x, y = load(request)
    model = build(request["seed"])
    result = bl.fit(model, x, y, seed=request["seed"], max_steps=request.get("max_steps"), progress=False)
    seconds = since(imported)
    q = result.posterior.source.distributions()
    return {
        **seconds,
        "steps": result.steps,
        "loc": {name: each.base_dist.loc.tolist() for name, each in q.items()},
        "scale": {name: each.base_dist.scale.tolist() for name, each in q.items()},
        "own_elbo": result.elbo,
        "own_elbo_stderr": result.elbo_stderr,
        "warnings": list(result.warnings),
        **{name: getattr(result, name, None) for name in ("converged", "step_mode", "gap", "k_hat")},
    }


def step(request: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds a step of a fit.

    Args:
        request: With ``data``, ``seed``, ``threads``, ``particles``, and ``mode`` (or null).

    Returns:
        The time, and the step mode that the fit says it ran.
    """
    x, y = load(request)
    torch.manual_seed(request["seed"])
    options = {"particles": request["particles"], **mode_option(request.get("mode"))}
    return our_step_ms(lambda steps: bl.fit(build(0), x, y, max_steps=steps, progress=False, **options))


def mode_option(mode: str | None) -> dict[str, Any]:
    """Turn a step mode into an option of `fit`, if that has one.

    Args:
        mode: ``"eager"``, ``"captured"``, ``"compiled"``; ``None`` leaves the choice to `fit`.

    Returns:
        Keyword arguments.

    Raises:
        ValueError: If `fit` knows no step modes.
    """
    if mode is None:
        return {}
    if "compile" not in inspect.signature(bl.fit).parameters:
        raise ValueError("this version of bl.fit has no option `compile`")
    return {"compile": mode}


def our_step_ms(fit: Any) -> dict[str, Any]:
    """Time warm steps of a fit, by the difference of a long and a short one in one process.

    Args:
        fit: From a number of steps to the fit's result.

    Returns:
        Median of three differences, milliseconds a step; and the step mode.

    Raises:
        ValueError: If the fits end before their last step, so that there is no difference.
    """
    short, long = SIZES
    fit(short)  # what a process does once
    while timed(fit, long)[0] - timed(fit, short)[0] < LEAST and long < MOST:
        long *= 4
    differences = []
    for _ in range(3):
        (few_seconds, few), (many_seconds, many) = timed(fit, short), timed(fit, long)
        if many.steps - few.steps < (long - short) / 2:
            raise ValueError(
                f"a fit of at most {long} steps ended after {many.steps}, one of {short} after {few.steps}"
            )
        differences.append(1000 * (many_seconds - few_seconds) / (many.steps - few.steps))
    return {"ms": statistics.median(differences), "step_mode": getattr(many, "step_mode", None)}


def timed(fit: Any, steps: int) -> tuple[float, Any]:
    """Time one fit.

    Args:
        fit: From a number of steps to the fit's result.
        steps: That number.

    Returns:
        Seconds, and the result.
    """
    start = clock()
    result = fit(steps)
    return since(start)["seconds"], result


def mnist_step(request: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds a minibatch step of `fit` with one particle, and of the same network's deterministic Adam.

    Args:
        request: With ``seed``, ``threads``, ``steps`` (of a block), and ``mode`` (or null).

    Returns:
        Both times, and their ratio.
    """
    import mnist

    torch.set_num_threads(request["threads"])
    torch.manual_seed(request["seed"])
    x, y = mnist.random_data(request["seed"])
    model = bl.BayesianModel(mnist.build(bl.Linear), bl.likelihoods.Categorical())
    options = {"particles": 1, "batch_size": mnist.BATCH, **mode_option(request.get("mode"))}

    def fit(steps: int) -> Any:
        return bl.fit(model, x, y, max_steps=steps, progress=False, **options)

    few, many = request["steps"], 4 * request["steps"]
    fit(few)
    plain = mnist.deterministic(request["seed"])
    plain(few)
    ours, theirs = [], []
    for _ in range(5):
        (few_seconds, _), (many_seconds, last) = timed(fit, few), timed(fit, many)
        ours.append(1000 * (many_seconds - few_seconds) / (many - few))
        start = clock()
        plain(many - few)
        theirs.append(1000 * since(start)["seconds"] / (many - few))
    ms, plain_ms = statistics.median(ours), statistics.median(theirs)
    mode = getattr(last, "step_mode", None)
    return {"ms": ms, "deterministic_ms": plain_ms, "ratio": ms / plain_ms, "step_mode": mode}


if __name__ == "__main__":
    serve({"article": article, "step": step, "mnist_step": mnist_step})
