"""Simulation-based calibration: simulate from the model, fit, and compute the ranks of the true values."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from .. import metrics
from ..arguments import check_integer, check_seed
from ..errors import FitWarning, SiteError
from ..fitting.fit import fit
from ..inference_data import entry_names
from ..model import BayesianModel, check_is_model, sample
from ..network import Inputs, check_inputs, num_rows, parameter_sites, take_rows
from ..posterior import Posterior
from .result import CalibrationResult

Infer = Callable[[BayesianModel, Inputs, Tensor, int], Posterior]
_POINTS = 5  # rows of `x` at which functions are compared by default


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
    r"""Return tests of an inference method on data simulated from the model, for which the true parameters are known.

    In each simulation weights are drawn from the prior and targets from the likelihood at ``x``; a posterior is fitted
    to them, and for each quantity the posterior probability of values below the true one is computed. If the
    posteriors are right, these probabilities are uniform. The tests show in which way posteriors are wrong *on average
    over the prior*: biased (the symmetry test of VSBC), too narrow, or too wide.

    The quantities are the network's outputs at a few inputs, and sites of the likelihood and of priors (such as a noise
    scale). Single weights of a network are not identified, since units can be permuted and change sign. Parameters
    without a prior (a learned noise scale, a bias without prior) are simulated at their initial values.

    Args:
        model: The model; it is not changed. Its prior and likelihood must be able to simulate data at ``x``.
        x: Inputs of the simulated data, with N rows on the first axis.
        infer: Function from model, ``x``, simulated targets and a seed to a posterior, for instance ``lambda model, x,
            y, seed: bl.fit(model, x, y, seed=seed, progress=False, guide=bl.guides.FullRankNormal(model)).posterior``;
            ``None`` is ``bl.fit`` with its defaults.
        at: Inputs at which functions are compared; ``None`` selects five evenly spaced rows of ``x``.
        weights: Whether to test single weights too. This is meaningful if they are identified, as in a linear model.
        num_simulations: Number of simulations M; 100 detect a standard deviation that is wrong by a fifth, or a bias
            of a third of one.
        num_draws: Number of draws S of each posterior, 10 or more.
        seed: Simulation i depends only on ``(seed, i)``, so fewer simulations are the first of more.
        progress: Whether to show a progress bar on stderr.

    Raises:
        SiteError: If the model has no likelihood, or no parameter has a prior.
        DataError: If a number is out of range.
        TypeError: If ``model`` is not a ``BayesianModel``, or ``infer`` does not return a ``Posterior``.

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
    check_integer("num_simulations", num_simulations, least=2)
    check_integer("num_draws", num_draws, least=10)
    check_seed(seed)
    _check_can_be_simulated(model)
    x = check_inputs(x, model.network)
    at = _some_rows(x) if at is None else check_inputs(at, model.network)
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


def _quietly(infer: Infer | None, model: BayesianModel, x: Inputs, y: Tensor, seed: int) -> Posterior:
    """Fit without warnings, which would repeat in every simulation; the result counts the fits that failed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        posterior = (
            infer(model, x, y, seed) if infer else fit(model, x, y, seed=seed, progress=False).posterior
        )
    if not isinstance(posterior, Posterior):
        raise TypeError(
            f"`infer` must return a bl.Posterior; received {type(posterior).__name__}. Return result.posterior."
        )
    return posterior


def _seeds(seed: int, simulation: int) -> list[int]:
    """Return independent seeds for weights, targets, fit, draws and ranks."""
    words = np.random.SeedSequence([seed, simulation]).generate_state(5, np.uint32)
    return [int(word) >> 1 for word in words]  # a fit's seed has 31 bits


@torch.no_grad()
def _quantities(
    model: BayesianModel, draws: Mapping[str, Tensor], at: Inputs, weights: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Compute the tested quantities under each draw, ``(S, J)``, and their names."""
    f = sample(model, draws, at, "f")
    parts = {"f": f.squeeze(-1) if f.shape[2:] == (1,) else f}
    network = parameter_sites(model.network)
    for name, site in model.sites().items():
        if site.prior is not None and (weights or name not in network):
            parts[name] = draws[name]
    arrays = {name: value.double().cpu().numpy() for name, value in parts.items()}
    flat = np.concatenate([value.reshape(len(value), -1) for value in arrays.values()], axis=1)
    return flat, tuple(entry_names(arrays))


def _some_rows(x: Inputs) -> Inputs:
    count = num_rows(x)
    chosen = np.unique(np.linspace(0, count - 1, min(_POINTS, count)).round().astype(int))
    return take_rows(x, torch.from_numpy(chosen))


def _check_can_be_simulated(model: BayesianModel) -> None:
    if model.likelihood is None:
        raise SiteError("the model has no likelihood, so targets cannot be simulated; give it one")
    if all(site.prior is None for site in model.sites().values()):
        raise SiteError(
            "no parameter has a prior, so true values cannot be drawn; use bl.bayesianize on the network"
        )
