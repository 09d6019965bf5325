"""The loop of a fit."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterator, Mapping

import numpy as np
import pyro
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..errors import DivergenceError, FitWarning, ShapeError, SiteError
from ..guides import MeanFieldNormal, check_covers
from ..handlers import check_kl_weight
from ..model import BayesianModel, check_is_model
from ..network import Inputs, place, rows, take
from ..noise import seeded
from ..posterior import Posterior
from .adam import Adam
from .checks import check_targets, fresh_normalisation, no_priors, scale_warnings
from .objective import Objective, expected_log_likelihood, final_draws, neg_elbo, weighted_kl
from .result import FitResult
from .schedule import Schedule, choose


def fit(
    model: BayesianModel,
    x: Inputs,
    y: Tensor | None = None,
    *,
    guide: MeanFieldNormal | None = None,
    seed: int = 0,
    num_data: int | None = None,
    batch_size: int | None = None,
    kl_weight: float | Mapping[str, float] = 1.0,
    particles: int | None = None,
    learning_rate: float | None = None,
    max_steps: int | None = None,
    progress: bool = True,
) -> FitResult:
    r"""Fit a guide to data by stochastic variational inference with a reparameterized ELBO.

    Maximises, by Adam with a cosine decay, in nats of the whole data set,

    .. math:: E_q[\log p(y \mid x, w)] - \sum_j \text{kl\_weight}_j \, \mathrm{KL}(q(w_j) \| p(w_j)).

    The guide is trained in place from its present state; network and model are never written to. During the
    fit normalisation layers use their running statistics, frozen; dropout follows the network's mode.
    The caller's random state is left as it was.

    **Tempering.** Any ``kl_weight`` but 1 gives a tempered posterior, and every summary says so. The
    article on tensor2tensor's layers minimised the MEAN negative log likelihood plus ``c = 0.01`` times the
    sum over the layers of the MEAN over a kernel's elements of the KL. Multiplied by N that is this
    objective, with weight ``N * c / size`` a kernel::

        network = nn.Sequential(bl.Linear(2, 10, bias_prior=None), nn.Tanh(), bl.Linear(10, 1, bias_prior=None))
        kl_weight = {"0.weight": 200 * 0.01 / 20, "2.weight": 200 * 0.01 / 10}    # 0.1 and 0.2

    Args:
        model: The model.
        x: Inputs with N rows in front, or a tuple of inputs; moved to the network's device and dtype.
        y: Targets, ``(N,)`` or ``(N, K)``.
        guide: Trained in place; ``None`` makes a ``MeanFieldNormal(model)``.
        seed: Seed of everything random in the fit.
        num_data: Rows of the whole data set, if ``x`` is a part of it.
        batch_size: Rows a step; ``None`` takes all. The ELBO counts the whole data set either way.
        kl_weight: Weight of the KL: one number, or a mapping from site name to weight (others keep 1).
        particles: Draws of the weights a step; ``None`` takes 16, in antithetic pairs.
        learning_rate: Adam's rate at the first step; ``None`` chooses by the size of the network.
        max_steps: Steps; ``None`` takes 1000, or 100 epochs if that is more.
        progress: Whether to show a progress bar with the ELBO.

    Returns:
        The posterior, with the history, the ELBO and its error.

    Raises:
        TypeError: If ``model`` is not a ``BayesianModel``, or ``x`` or ``y`` not a tensor.
        ShapeError: If shapes do not belong together.
        DataError: If a value is NaN, infinite or out of range, or a setting is.
        SiteError: If ``kl_weight`` or the guide does not fit the model, or the model has no likelihood.
        DivergenceError: If the objective becomes NaN or infinite.

    Warns:
        FitWarning: If inputs or targets are far from unit scale, nothing has a prior, or batch
            normalisation has seen no data.

    References:
        Kingma & Welling (2014), arXiv 1312.6114; Kucukelbir et al. (2017), arXiv 1603.00788.

    Example:
        >>> import bayesian_layers as bl
        >>> x, y = bl.datasets.parabola()
        >>> model = bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli())
        >>> result = fit(model, x, y, max_steps=200, progress=False)
        >>> bool(-61.5 < result.elbo < -60)
        True
    """
    start = time.perf_counter()
    check_is_model(model)
    guide = MeanFieldNormal(model) if guide is None else guide
    program = _fitting_copy(model)
    x, y = _prepare(program, guide, x, y, kl_weight, seed)
    size = len(guide.loc) + len(guide.point)
    schedule = choose(
        rows(x),
        size,
        particles=particles,
        max_steps=max_steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
    )
    said = _say([*no_priors(model), *scale_warnings(x, y), *fresh_normalisation(model.network)])
    num_data = rows(x) if num_data is None else num_data
    generator = torch.Generator(guide.loc.device).manual_seed(seed)
    objective = neg_elbo(
        program, guide, kl_weight=kl_weight, particles=schedule.particles, num_data=num_data, seed=seed
    )
    with seeded(seed):
        bar = tqdm(range(schedule.max_steps), desc="fit", unit="step", disable=not progress)
        label = "ELBO" if kl_weight == 1.0 else "tempered ELBO"
        history = _minimise(objective, guide, _batches(x, y, schedule, generator), schedule, bar, label)
    log_p, stderr = expected_log_likelihood(
        program, guide, x, y, num_draws=final_draws(rows(x), size), seed=seed + 1, num_data=num_data
    )
    elbo = log_p - weighted_kl(program, guide)
    return FitResult(
        posterior=Posterior.from_guide(model, guide, elbo=elbo, kl_weight=kl_weight),
        history=history,
        elbo=elbo,
        elbo_stderr=stderr,
        objective=weighted_kl(program, guide, kl_weight) - log_p,
        kl_weight=kl_weight,
        steps=len(history),
        seconds=time.perf_counter() - start,
        warnings=said,
    )


def _fitting_copy(model: BayesianModel) -> BayesianModel:
    """A copy in the caller's mode, but for normalisation layers: those use their running statistics."""
    program = copy.deepcopy(model)
    for module in program.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats:
            module.eval()
    return program


def _prepare(
    model: BayesianModel,
    guide: MeanFieldNormal,
    x: Inputs,
    y: Tensor | None,
    kl_weight: float | Mapping[str, float],
    seed: int,
) -> tuple[Inputs, Tensor]:
    if model.likelihood is None:
        raise SiteError("the model has no likelihood, so nothing to fit; give one to BayesianModel")
    check_covers(guide, model)
    check_kl_weight(kl_weight, set(guide.shapes))
    x = place(x, model.network)
    y = check_targets(y, rows(x))
    outputs = _outputs(model, x, seed)
    model.likelihood.check_shapes(torch.empty(rows(x), outputs, device="meta"), y)
    model.likelihood.check_values(y, outputs)
    return x, y.to(guide.loc.device)


def _outputs(model: BayesianModel, x: Inputs, seed: int) -> int:
    """Try the network on two rows, so that a wrong shape is said before the first step."""
    few = take(x, slice(2))
    with seeded(seed), torch.no_grad():
        f = model.network(*(few if isinstance(few, tuple) else (few,)))
    if f.dim() != 2 or len(f) != rows(few):
        raise ShapeError(
            "network(x)", (rows(few), "outputs"), f.shape, "This is the answer to the first rows of x."
        )
    return f.shape[-1]


def _batches(
    x: Inputs, y: Tensor, schedule: Schedule, generator: torch.Generator
) -> Iterator[tuple[Inputs, Tensor]]:
    """Endless batches: all rows, or each epoch a fresh order of them, the last batch smaller."""
    n = rows(x)
    while schedule.batch_size == n:
        yield x, y
    while True:
        order = torch.randperm(n, generator=generator, device=generator.device)
        for index in order.split(schedule.batch_size):
            yield take(x, index), y[index]


def _minimise(
    objective: Objective,
    guide: MeanFieldNormal,
    batches: Iterator[tuple[Inputs, Tensor]],
    schedule: Schedule,
    bar: tqdm,
    label: str,
) -> np.ndarray:
    trained = [parameter for parameter in guide.parameters() if parameter.requires_grad and len(parameter)]
    optimizer = Adam(trained)
    history = np.empty(schedule.max_steps)
    # The caller's data and shapes were checked; Pyro's checks of every value at every step double its time.
    with pyro.validation_enabled(False), bar:
        for step in bar:
            loss = objective(*next(batches))
            history[step] = loss.item()
            if not np.isfinite(history[step]):
                raise DivergenceError(step, float(history[step]))
            gradients = torch.autograd.grad(
                loss, trained, materialize_grads=True
            )  # a parameter may be unused
            optimizer.step(gradients, schedule.rate(step))
            if step % 10 == 0:
                recent = -history[max(0, step - 9) : step + 1].mean()
                bar.set_postfix_str(f"{label} {recent:.1f}", refresh=False)
    return history


def _say(texts: list[str]) -> tuple[str, ...]:
    for text in texts:
        warnings.warn(text, FitWarning, stacklevel=3)
    return tuple(texts)
