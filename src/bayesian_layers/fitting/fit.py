"""``fit``: from a model and data to a result."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pyro
from torch import Tensor
from tqdm.auto import tqdm

from ..errors import ConvergenceWarning, DataError, DivergenceError, FitWarning, SiteError
from ..estimators import Estimator
from ..guides import Guide, default_guide
from ..handlers import check_kl_weight
from ..model import BayesianModel, check_is_model
from ..network import Inputs
from ..noise import seeded
from ..posterior import Posterior
from . import closed_form
from .checkpoints.checkpoint import Checkpoint, Keeper, keeper
from .checkpoints.fingerprint import fingerprint
from .checks import DataCheck, fresh_normalisation, no_priors
from .data.batches import make_batches
from .progress import Callback, Report
from .result import FitResult
from .setup import Settings, arrange, fitting_copy
from .stepping.step import Mode, Optimizer
from .trainer import Run

_RETRIES = 3  # after a divergence, each with a quarter of the learning rate


def fit(
    model: BayesianModel,
    x: Inputs | Iterable[Any],
    y: Tensor | None = None,
    *,
    guide: Guide | None = None,
    seed: int = 0,
    num_data: int | None = None,
    batch_size: int | None = None,
    kl_weight: float | Mapping[str, float] = 1.0,
    estimator: Literal["reparameterization", "local", "flipout"] | None = None,
    particles: int | None = None,
    learning_rate: float | None = None,
    max_steps: int | None = None,
    compile: Mode | None = None,
    optimizer: Optimizer | None = None,
    sample_weight: Tensor | None = None,
    validation: tuple[Inputs, Tensor] | None = None,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    progress: bool = True,
    callbacks: Iterable[Callback] = (),
) -> FitResult:
    r"""Fit a guide to data by stochastic variational inference with a reparameterized ELBO.

    Maximises, in nats of the whole data set,

    .. math:: E_q[\log p(y \mid x, w)] - \sum_j \text{kl\_weight}_j \, \mathrm{KL}(q(w_j) \| p(w_j)).

    by Adam in stages, in each of which the learning rate falls to zero on half a cosine, until a stage gains
    nothing on draws that no step has seen: ``result.converged``. Where the log likelihood is quadratic in all that is
    learned (linear regression with known noise) a mean-field guide is set to the optimum in closed form.

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
        x: Inputs with N rows in front, or a tuple of inputs, moved to the network's device and dtype; or a source
            of ``(x, y)`` batches: a ``bl.streams`` stream, a ``DataLoader``, any re-iterable.
        y: Targets, N rows in front (shapes: ``bl.likelihoods``); ``None`` with a source of batches.
        guide: Trained in place, from its present state; ``None`` makes a ``MeanFieldNormal(model)``, or a
            ``BlockNormal(model)`` where entries belong together (inducing values of a ``GaussianProcess``).
        seed: Seed of everything random in the fit.
        num_data: Rows of the whole data set, if ``x`` is a part of it.
        batch_size: Rows a step; ``None`` takes all. The ELBO counts the whole data set either way.
        kl_weight: Weight of the KL: one number, or a mapping from site name to weight (others keep 1).
        estimator: How gradients are estimated: ``"reparameterization"``, ``"local"`` (noise on the outputs of
            linear layers) or ``"flipout"``; ``None`` takes the first, whose step is the cheapest, and for Gaussian
            processes the second, if it covers all. What an estimator does not cover is plain, and the result says so.
        particles: Draws of the weights a step; ``None`` chooses 1 to 16 by the size of the problem; an
            even number comes in antithetic pairs.
        learning_rate: Adam's rate at the first step; ``None`` chooses by the width of the network.
        max_steps: Steps at most; a fit that has converged ends before.
        compile: How steps are run: ``"eager"``, ``"captured"`` (recorded once, then only its operations) or
            ``"compiled"`` (recorded, and compiled by torch, which takes a C++ compiler and tens of seconds); ``None``
            chooses before the first step.
        optimizer: Makes an optimizer of one's own in place of Adam with its decaying rate, for instance
            ``lambda p: torch.optim.SGD(p, lr=1e-3)``; the stages and the test of convergence stay.
        sample_weight: Factor of each row's log likelihood, ``(N,)``, 0 or more: weight 2 is the row twice.
        validation: Inputs and targets that the fit does not see; their mean log likelihood goes into the
            progress bar and ``result.validation``.
        checkpoint: A folder, or a ``bl.Checkpoint``, in which the fit keeps where it stands: stopped or killed, the
            same call goes on, and ends with the same numbers to the last bit; a finished one returns its result at
            once. SIGINT and SIGTERM write there, and end the fit at the next step's boundary.
        progress: Whether to show a progress bar with the ELBO.
        callbacks: Called after each step with ``step``, ``objective`` and ``validation`` as attributes; a true
            answer ends the fit. A checkpoint knows nothing of what they remember.

    Returns:
        The posterior, with the history, the ELBO and its error.

    Raises:
        TypeError: If ``model`` is not a ``BayesianModel``, or ``x`` or ``y`` not a tensor.
        ShapeError: If shapes do not belong together.
        DataError: If a value is NaN, infinite or out of range, or a setting is.
        SiteError: If ``kl_weight`` or the guide does not fit the model, or the model has no likelihood.
        DivergenceError: If the objective becomes NaN or infinite.
        StorageError: If ``checkpoint`` cannot be written, or belongs to another fit.
        KeyboardInterrupt: After SIGINT, with a checkpoint; the guide is then where it began.
        SystemExit: After SIGTERM, with a checkpoint; the guide is then where it began.

    Warns:
        FitWarning: If inputs or targets are far from unit scale, nothing has a prior, batch
            normalisation has seen no data, or an estimator that was asked for covers nothing.
        ConvergenceWarning: If the fit ended before its test of convergence was passed.

    References:
        Kingma & Welling (2014), arXiv 1312.6114; Kucukelbir et al. (2017), arXiv 1603.00788; Welandawe et al.
        (2022), arXiv 2203.15945, for stages and a test of convergence.

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
    guide = default_guide(model) if guide is None else guide
    settings = Settings(
        seed=seed,
        num_data=num_data,
        batch_size=batch_size,
        kl_weight=kl_weight,
        estimator=estimator,
        particles=particles,
        learning_rate=learning_rate,
        max_steps=max_steps,
        compile=compile,
        optimizer=optimizer,
    )
    program = fitting_copy(model)
    _check(program, guide, settings, checkpoint)
    checked = DataCheck(program, seed)
    batches = make_batches(
        x,
        y,
        network=program.network,
        batch_size=batch_size,
        seed=seed,
        num_data=num_data,
        sample_weight=sample_weight,
        check=checked,
    )
    tensors = {"sample_weight": sample_weight, "validation": validation}
    tensors |= {} if y is None else {"x": x, "y": y}
    kept = keeper(checkpoint, lambda: fingerprint(model, guide, tensors, batches, settings.described()))
    with seeded(seed), pyro.validation_enabled(False), kept:
        run = arrange(program, guide, batches, settings, mode=kept.mode, validation=validation)
        verdict = closed_form.solve(program, guide, batches, run.priors, seed)
        slower: list[str] = []
        solved = verdict is not None
        if not solved:
            kept.begin(run, batches, slower)
            _minimise(run, kept, settings, slower, progress, tuple(callbacks))
            kept.finish()
        else:
            run.take_from_guide()
            run.evaluate()
        log_weights = run.log_weights()
        guide.finalize(run.state.evaluations[-1].log_likelihoods.flatten(), program)
    verdict = run.verdict if verdict is None else verdict
    last = run.state.evaluations[-1]
    said = [*no_priors(model), *checked.warnings, *fresh_normalisation(model.network), *slower]
    said += [*kept.warnings(), *_uncovered(run.estimator, estimator)]
    return FitResult(
        posterior=Posterior.from_guide(
            model,
            guide,
            elbo=last.elbo,
            kl_weight=kl_weight,
            converged=verdict.converged,
            data_schema=checked.schema and replace(checked.schema, rows=batches.num_data),
        ),
        history=np.array(run.state.history),
        elbo=last.elbo,
        elbo_stderr=last.elbo_stderr,
        objective=last.objective,
        kl_weight=kl_weight,
        verdict=verdict,
        steps=run.state.step,
        seconds=kept.seconds + (0.0 if kept.finished else time.perf_counter() - start),
        step_mode="none" if solved else run.stepper.mode,
        estimator=run.estimator.describe(),
        log_weights=log_weights,
        validation=np.array(run.state.validation).reshape(-1, 2),
        warnings=_say(said, FitWarning) + _say(verdict.warnings(), ConvergenceWarning),
    )


def _minimise(
    run: Run,
    kept: Keeper,
    settings: Settings,
    slower: list[str],
    progress: bool,
    callbacks: tuple[Callback, ...],
) -> None:
    """Take the steps; after a divergence start anew with a smaller learning rate, if it was ours, and say so."""
    label = "ELBO" if settings.kl_weight == 1.0 else f"tempered objective (KL weight {settings.kl_weight})"
    total, done = run.schedule.max_steps, run.state.step
    with tqdm(total=total, initial=done, disable=not progress, desc="fit", unit="step") as bar:
        report = Report(bar, label, callbacks, kept.boundary)
        while not kept.finished:
            try:
                run.go(report)
                return
            except DivergenceError as error:
                if settings.learning_rate is not None or len(slower) >= _RETRIES:
                    raise
                slower.append(_starts_anew(error, run.schedule.learning_rate))
                run.start_anew()


def _starts_anew(error: DivergenceError, rate: float) -> str:
    return (
        f"the objective became {error.neg_elbo} at step {error.step} with a learning rate of {rate:.2g}; "
        f"started anew with {rate / 4:.2g}. Standardize inputs and targets if they are not"
    )


def _check(model: BayesianModel, guide: Guide, settings: Settings, checkpoint: object) -> None:
    if model.likelihood is None:
        raise SiteError("the model has no likelihood, so nothing to fit; give one to BayesianModel")
    guide.check_made_for(model)
    check_kl_weight(settings.kl_weight, set(guide.shapes))
    if settings.compile not in (None, "eager", "captured", "compiled"):
        raise DataError(
            f"`compile` must be None, 'eager', 'captured' or 'compiled'; received {settings.compile!r}"
        )
    if settings.optimizer is not None and checkpoint is not None:
        raise DataError(
            "a checkpoint cannot keep the state of an `optimizer` of one's own; leave one of them out"
        )


def _uncovered(used: Estimator, asked: str | None) -> list[str]:
    """Say so where the caller asked for an estimator and did not get it at all."""
    return [used.note] if asked not in (None, used.name) else []


def _say(texts: list[str], category: type[Warning]) -> tuple[str, ...]:
    for text in texts:
        warnings.warn(text, category, stacklevel=3)
    return tuple(texts)
