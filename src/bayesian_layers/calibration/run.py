"""Simulate from the model, fit, and see where the truth falls."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from itertools import product

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from .. import metrics
from ..errors import DataError, FitWarning, SiteError
from ..fitting import fit
from ..model import BayesianModel, check_is_model, sample
from ..network import Inputs, parameter_sites, place, rows, take
from ..posterior import Posterior
from .result import CalibrationResult

Infer = Callable[[BayesianModel, Inputs, Tensor, int], Posterior]
_POINTS = 5  # rows of `x` at which functions are compared, unless others are given


def calibrate(
    model: BayesianModel,
    x: Inputs,
    infer: Infer | None = None,
    *,
    at: Inputs | None = None,
    weights: bool = False,
    num_simulations: int = 100,
    num_draws: int = 1000,
    seed: int = 0,
    progress: bool = True,
) -> CalibrationResult:
    r"""Test a way of fitting on data simulated from the model itself, where the truth is known.

    For each simulation weights are drawn from the prior and targets from the likelihood at ``x``; a posterior is fitted
    to them, and for each quantity the probability that it gives to values below the true one is noted. If the posterior
    is right these probabilities are uniform. Variational posteriors seldom are; what is told is in which way
    they are wrong *on average over the prior*: biased (the test of symmetry of VSBC), too narrow, or too wide.

    The quantities are the network's outputs at a few inputs, and sites of the likelihood and of priors (a noise scale):
    single weights of a network are not identified, since units may change places and signs, and a
    guide that chooses one of the equal modes would seem wrong where nothing depends on it.

    What has no prior (a learned noise scale, a bias without prior) is simulated at the value where a fit begins.

    Args:
        model: The model; only read. All it needs is a prior and a likelihood that fit the inputs.
        x: Inputs of the simulated data, N rows in front.
        infer: From model, ``x``, simulated targets and a seed to a posterior; ``None`` is ``bl.fit`` with its
            defaults. For instance ``lambda model, x, y, seed: bl.fit(model, x, y, seed=seed, progress=False,
            guide=bl.guides.FullRankNormal(model)).posterior``.
        at: Inputs at which functions are compared; ``None`` takes five rows of ``x``, evenly spaced.
        weights: Whether single weights are judged too. They mean something where they are identified, as in a linear
            model.
        num_simulations: Simulations M; 100 show a deviation wrong by a fifth, or a shift of a third of one.
        num_draws: Draws of each posterior S, 10 or more.
        seed: Simulation i depends on ``(seed, i)`` alone: fewer are the start of more.
        progress: Whether to show a progress bar on stderr.

    Returns:
        The probabilities, the tests, and in words what they say; ``print`` it.

    Raises:
        SiteError: If the model has no likelihood, or nothing has a prior.
        DataError: If a number is out of range.
        TypeError: If ``model`` is not a ``BayesianModel``, or ``infer`` does not give a ``Posterior``.

    References:
        Yao, Vehtari, Simpson & Gelman (2018), "Yes, but did it work?", arXiv 1802.02538; Talts et al. (2018),
        arXiv 1804.06788; Cook, Gelman & Rubin (2006), J. Comput. Graph. Stat. 15.

    Example:
        >>> import bayesian_layers as bl
        >>> model = bl.BayesianModel(bl.Linear(1, 1, bias_prior=None), bl.likelihoods.Normal(1.0))
        >>> x = torch.linspace(-1, 1, 20).unsqueeze(1)
        >>> found = calibrate(model, x, at=x[-1:], num_simulations=5, progress=False)
        >>> found.names, found.probabilities.shape
        (('f[0]',), (5, 1))
    """
    check_is_model(model)
    _check_numbers(num_simulations=(num_simulations, 2), num_draws=(num_draws, 10), seed=(seed, 0))
    _check_can_be_simulated(model)
    x = place(x, model.network)
    at = _some_rows(x) if at is None else place(at, model.network)
    infer = _by_fit if infer is None else infer
    found, converged, names = [], [], ()
    for i in tqdm(range(num_simulations), desc="calibrate", disable=not progress):
        seeds = _seeds(seed, i)
        truth = model.prior_draws(1, seeds[0])
        y = sample(model, truth, x, "y", seeds[1])[0]
        posterior = _quietly(infer, model, x, y, seeds[2])
        drawn = posterior.sample(num_draws, seeds[3])
        true, names = _quantities(model, truth, at, weights)
        values, _ = _quantities(posterior.model, drawn, at, weights)
        found.append(metrics.pit(true[0], values, seeds[4]))
        converged.append(posterior.converged is not False)
    return CalibrationResult(np.array(found), names, np.array(converged), num_draws, seed)


def _by_fit(model: BayesianModel, x: Inputs, y: Tensor, seed: int) -> Posterior:
    return fit(model, x, y, seed=seed, progress=False).posterior


def _quietly(infer: Infer, model: BayesianModel, x: Inputs, y: Tensor, seed: int) -> Posterior:
    """A hundred fits would say the same things a hundred times; the result tells how many did not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        posterior = infer(model, x, y, seed)
    if not isinstance(posterior, Posterior):
        raise TypeError(
            f"`infer` must give a bl.Posterior; received {type(posterior).__name__}. Return result.posterior."
        )
    return posterior


def _seeds(seed: int, simulation: int) -> list[int]:
    """Unrelated seeds for weights, targets, fit, draws and ranks."""
    words = np.random.SeedSequence([seed, simulation]).generate_state(5, np.uint32)
    return [int(word) >> 1 for word in words]  # a fit's seed has 31 bits


@torch.no_grad()
def _quantities(
    model: BayesianModel, draws: Mapping[str, Tensor], at: Inputs, weights: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Values under each draw, ``(S, J)``, and their names."""
    f = sample(model, draws, at, "f")
    outputs = f.shape[2:]
    parts = {"f": f.squeeze(-1) if tuple(outputs) == (1,) else f}
    network = parameter_sites(model.network)
    for name, site in model.sites().items():
        if site.prior is not None and (weights or name not in network):
            parts[name] = draws[name]
    names = [name + _entry(index) for name, value in parts.items() for index in _indices(value)]
    flat = torch.cat([value.double().reshape(len(value), -1) for value in parts.values()], dim=1)
    return flat.cpu().numpy(), tuple(names)


def _indices(value: Tensor) -> list[tuple[int, ...]]:
    return list(product(*map(range, value.shape[1:])))


def _entry(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""


def _some_rows(x: Inputs) -> Inputs:
    count = rows(x)
    chosen = np.unique(np.linspace(0, count - 1, min(_POINTS, count)).round().astype(int))
    return take(x, torch.from_numpy(chosen))


def _check_can_be_simulated(model: BayesianModel) -> None:
    if model.likelihood is None:
        raise SiteError("the model has no likelihood, so no targets can be simulated; give it one")
    if all(site.prior is None for site in model.sites().values()):
        raise SiteError(
            "nothing has a prior, so there is no truth to draw; lift the network with bl.bayesianize"
        )


def _check_numbers(**named: tuple[object, int]) -> None:
    for name, (value, least) in named.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise DataError(f"`{name}` must be a whole number, {least} or more; received {value!r}")
