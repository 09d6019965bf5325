"""``fit``: from a model and data to a result."""

from __future__ import annotations

import copy
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyro
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from .. import estimators
from ..errors import ConvergenceWarning, DataError, DivergenceError, FitWarning, ShapeError, SiteError
from ..estimators import Estimator
from ..guides import Guide, MeanFieldNormal, check_covers
from ..handlers import check_kl_weight
from ..model import BayesianModel, check_is_model
from ..network import Inputs, dtype_and_device, place, rows, take
from ..noise import seeded
from ..posterior import Posterior
from . import quadratic
from .batches import Batches, make_batches
from .checkpoint import Checkpoint, Keeper, keeper
from .checks import check_targets, fresh_normalisation, no_priors, scale_warnings
from .evaluation import Evaluator, Validation
from .fingerprint import fingerprint
from .flat import FlatParameters
from .objective import Objective
from .result import FitResult
from .run import STEPS_A_CALL, Run, State
from .schedule import Schedule, choose, widest_layer
from .step import Mode, Optimizer, Stepper, choose_mode


@dataclass(frozen=True)
class Progress:
    """What a callback is told.

    Attributes:
        step: Steps taken so far.
        objective: The objective at the last step, in nats of the whole data set, noisy.
        validation: The latest mean log likelihood a row of the validation data; NaN without.
    """

    step: int
    objective: float
    validation: float


Callback = Callable[[Progress], object]


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
        x: Inputs with N rows in front, or a tuple of inputs, moved to the network's device and dtype; or a source
            of ``(x, y)`` batches: a ``bl.streams`` stream, a ``DataLoader``, any re-iterable.
        y: Targets, ``(N,)`` or ``(N, K)``; ``None`` with a source of batches.
        guide: Trained in place, from its present state; ``None`` makes a ``MeanFieldNormal(model)``.
        seed: Seed of everything random in the fit.
        num_data: Rows of the whole data set, if ``x`` is a part of it.
        batch_size: Rows a step; ``None`` takes all. The ELBO counts the whole data set either way.
        kl_weight: Weight of the KL: one number, or a mapping from site name to weight (others keep 1).
        estimator: How gradients are estimated: ``"reparameterization"``, ``"local"`` (noise on the outputs of
            linear layers) or ``"flipout"``; ``None`` chooses. What an estimator does not cover is plain.
        particles: Draws of the weights a step; ``None`` chooses 1 to 16 by the size of the
                problem; an even number comes in antithetic pairs.
        learning_rate: Adam's rate at the first step; ``None`` chooses by the size of the network.
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
        callbacks: Called after each step with a :class:`Progress`; a true answer ends the fit. A checkpoint knows
            nothing of what they remember.

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
    _check(program, guide, kl_weight, compile)
    checked = _DataCheck(program, seed)
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
    if optimizer is not None and checkpoint is not None:
        raise DataError(
            "a checkpoint cannot keep the state of an `optimizer` of one's own; leave one of them out"
        )
    settings = {
        "seed": seed,
        "particles": particles,
        "learning_rate": learning_rate,
        "max_steps": max_steps,
        "batch_size": batch_size,
        "num_data": num_data,
        "kl_weight": kl_weight,
        "estimator": estimator,
        "compile": compile,
    }
    tensors = {"sample_weight": sample_weight, "validation": validation}
    tensors |= {} if y is None else {"x": x, "y": y}
    kept = keeper(checkpoint, lambda: fingerprint(model, guide, tensors, batches, settings))
    with seeded(seed), pyro.validation_enabled(False), kept:
        method = _choose_estimator(program, guide, batches, estimator)
        schedule = choose(
            batches.num_batches,
            batches.batch_rows,
            guide.noise_size + len(guide.point),
            widest_layer(guide.shapes.values()),
            particles=particles,
            max_steps=max_steps,
            learning_rate=learning_rate,
        )
        priors = guide.flat_priors(program, kl_weight)
        optimum = quadratic.solve(program, guide, batches, priors, seed)
        evaluator = Evaluator(program, batches, kl_weight, size=len(guide.loc), seed=seed)
        objective = Objective(guide, method, priors)
        together = STEPS_A_CALL if batches.num_batches == 1 else 1
        mode = kept.mode or compile or choose_mode(schedule)
        stepper = Stepper(objective, FlatParameters(guide), mode, steps_a_call=together, optimizer=optimizer)
        held_out = _validation(program, validation, schedule, seed)
        run = Run(guide, stepper, evaluator, batches, method, schedule, seed=seed, validation=held_out)
        label = "ELBO" if kl_weight == 1.0 else f"tempered objective (KL weight {kl_weight})"
        slower: list[str] = []
        if optimum is None:
            kept.begin(run, batches, slower)
        bar = tqdm(
            total=schedule.max_steps, initial=run.state.step, disable=not progress, desc="fit", unit="step"
        )
        with bar:
            if optimum is not None:
                run.evaluate()
            elif not kept.finished:
                report = _Report(bar, label, tuple(callbacks), kept)
                _go(run, report, _ATTEMPTS if learning_rate is None else 1, slower)
        if optimum is None:
            kept.finish()
        last = run.state.evaluations[-1]
        log_weights = (last.log_likelihoods.flatten() + evaluator.log_ratio(guide)).numpy()
    gap, gap_stderr = run.gain if optimum is None else (optimum.gap, 0.0)
    converged = run.converged if optimum is None else optimum.gap <= EXACT_TOLERANCE
    said = [
        *no_priors(model),
        *(checked.warnings or []),
        *fresh_normalisation(model.network),
        *slower,
        *kept.warnings(),
        *([method.note] if estimator not in (None, method.name) else []),
    ]
    said = _say(said, FitWarning)
    if not converged:
        said += _say([_not_converged(run)], ConvergenceWarning)
    return FitResult(
        posterior=Posterior.from_guide(model, guide, elbo=last.elbo, kl_weight=kl_weight),
        history=np.array(run.state.history),
        elbo=last.elbo,
        elbo_stderr=last.elbo_stderr,
        objective=last.objective,
        kl_weight=kl_weight,
        converged=converged,
        gap=max(gap, 0.0),
        gap_stderr=gap_stderr,
        tolerance=run.tolerance,
        test="what the last stage of steps gained"
        if optimum is None
        else "closed form: the log likelihood is quadratic",
        steps=run.state.step,
        seconds=kept.seconds + (0.0 if kept.finished else time.perf_counter() - start),
        step_mode=stepper.mode,
        estimator=method.name if not method.note else f"{method.name}; {method.note}",
        log_weights=log_weights,
        validation=np.array(run.state.validation).reshape(-1, 2),
        warnings=said,
    )


_ATTEMPTS = 4  # each with a quarter of the learning rate before
_VALIDATIONS = 10  # in the first stage
EXACT_TOLERANCE = 1e-3  # nats, where the optimum is known in closed form


def _go(run: Run, report: _Report, attempts: int, said: list[str]) -> None:
    """Take the steps; after a divergence start anew with a smaller learning rate, if it was ours, and say so."""
    while True:
        try:
            return run.go(report)
        except DivergenceError as error:
            if len(said) >= attempts - 1:
                raise
            rate = run.schedule.learning_rate
            said.append(
                f"the objective became {error.neg_elbo} at step {error.step} with a learning rate of {rate:.2g}; "
                f"started anew with {rate / 4:.2g}. Standardize inputs and targets if they are not"
            )
            run.start_anew()


class _DataCheck:
    """Refuses data that the model cannot take; of the first data it sees it says what is odd."""

    def __init__(self, model: BayesianModel, seed: int) -> None:
        self._model = model
        self._seed = seed
        self.warnings: list[str] | None = None

    def __call__(self, x: Inputs, y: Tensor) -> None:
        outputs = _outputs(self._model, x, self._seed)
        likelihood: Any = self._model.likelihood
        likelihood.check_shapes(torch.empty(rows(x), outputs, device="meta"), y)
        likelihood.check_values(y, outputs)
        if self.warnings is None:
            self.warnings = scale_warnings(x, y)


class _Report:
    """Tells the progress bar and the caller's callbacks how the fit goes."""

    def __init__(self, bar: tqdm, label: str, callbacks: tuple[Callback, ...], kept: Keeper) -> None:
        self._bar = bar
        self._kept = kept
        self._label = label
        self._callbacks = callbacks

    def __call__(self, state: State, count: int) -> bool:
        self._bar.update(count)
        if state.step % 10 < count:
            recent = state.history[-10:]
            text = f"{self._label} {-sum(recent) / len(recent):.1f}"
            if state.validation:
                text += f", validation {state.validation[-1][1]:.3f}"
            self._bar.set_postfix_str(text, refresh=False)
        held_out = state.validation[-1][1] if state.validation else math.nan
        progress = Progress(state.step, state.history[-1], held_out)
        answers = [bool(callback(progress)) for callback in self._callbacks]  # each is asked
        if not any(answers):  # else the end is kept, once it is evaluated
            self._kept.boundary()
        return any(answers)


def _fitting_copy(model: BayesianModel) -> BayesianModel:
    """A copy in the caller's mode, but for normalisation layers: those use their running statistics."""
    program = copy.deepcopy(model)
    for module in program.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats:
            module.eval()
    return program


def _check(
    model: BayesianModel, guide: Guide, kl_weight: float | Mapping[str, float], compile: object
) -> None:
    if model.likelihood is None:
        raise SiteError("the model has no likelihood, so nothing to fit; give one to BayesianModel")
    check_covers(guide, model)
    check_kl_weight(kl_weight, set(guide.shapes))
    if compile not in (None, "eager", "captured", "compiled"):
        raise DataError(f"`compile` must be None, 'eager', 'captured' or 'compiled'; received {compile!r}")


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


def _choose_estimator(model: BayesianModel, guide: Guide, batches: Batches, name: str | None) -> Estimator:
    first = next(iter(batches.once()))
    x, y = take(first.x, slice(4)), first.y[:4]
    if name is None:
        name = estimators.default(
            model, guide, x, y, batch_size=batches.batch_rows, num_rows=batches.num_data
        )
    return estimators.make(name, model, guide, x, y)


def _validation(
    model: BayesianModel, data: tuple[Inputs, Tensor] | None, schedule: Schedule, seed: int
) -> Validation | None:
    if data is None:
        return None
    if not isinstance(data, tuple) or len(data) != 2:
        raise DataError(f"`validation` must be a pair (x, y); received {type(data).__name__}")
    x = place(data[0], model.network)
    y = check_targets(data[1], rows(x))
    _DataCheck(model, seed)(x, y)
    every = max(1, schedule.first_steps // _VALIDATIONS)
    return Validation(model, x, y.to(dtype_and_device(model.network)[1]), every=every, seed=seed)


def _not_converged(run: Run) -> str:
    gain, stderr = run.gain
    return (
        f"the fit did not converge: its last stage still gained {gain:.2g} +- {stderr:.2g} nats, where "
        f"{run.tolerance:.2g} count as none; call `fit` again with the same guide to go on, or give more `max_steps`"
    )


def _say(texts: list[str], category: type[Warning]) -> tuple[str, ...]:
    for text in texts:
        warnings.warn(text, category, stacklevel=3)
    return tuple(texts)
