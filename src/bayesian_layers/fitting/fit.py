"""``bl.fit``: from a model and data to a result."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pyro
from torch import Tensor

from ..errors import ConvergenceWarning, FitWarning
from ..guides import Guide
from ..guides.blocks import default_guide
from ..model import BayesianModel, check_is_model
from ..network import Inputs
from ..noise import seeded
from ..posterior import Posterior
from . import closed_form
from .checkpoints.checkpoint import Checkpoint, Checkpointer
from .checkpoints.fingerprint import Fingerprint
from .checkpoints.folder_checkpointer import make_checkpointer
from .checks import DataCheck, check_guide
from .convergence import Convergence
from .data.batch import SampleWeight
from .data.batches import make_batches
from .progress import Callback
from .result import FitResult
from .setup import Settings, check_call, fitting_copy, make_trainer, without_autocast
from .start import find_start
from .stepping.optimizer import MakeOptimizer
from .stepping.step import Mode
from .threads import current, threads, threads_of
from .trainer import Trainer
from .training import train

_MAX_RESTARTS = 3  # after a divergence, each with a quarter of the learning rate


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
    max_seconds: float | None = None,
    compile: Mode | None = None,
    optimizer: MakeOptimizer | None = None,
    sample_weight: Tensor | Literal["third"] | None = None,
    validation: tuple[Inputs, Tensor] | None = None,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    progress: bool = True,
    callbacks: Iterable[Callback] = (),
) -> FitResult:
    r"""Fit a guide to data by stochastic variational inference with a reparameterized ELBO.

    Maximises, in nats of the whole data set,

    .. math:: E_q[\log p(y \mid x, w)] - \sum_j \text{kl\_weight}_j \, \mathrm{KL}(q(w_j) \| p(w_j))

    by Adam in stages; in each the learning rate falls to zero on half a cosine. The fit has converged when a stage
    gains no more than the tolerance, on draws that no step has used, and hardly moves means and standard deviations. If
    the log likelihood is quadratic (linear regression, known noise), a mean-field guide is set to the optimum itself.

    The guide is trained in place from its present state; a new guide of a deep network first takes its start from the
    best of three short fits. Network and model are never changed. During the fit layers that write to buffers
    (normalization, spectral norm) are in evaluation mode; dropout follows the network's. The fit runs in the network's
    dtype, also under ``torch.autocast``. Random state and threads are restored.

    **Tempering.** A ``kl_weight`` other than 1 gives a tempered posterior, which every summary states. The article on
    tensor2tensor's layers minimised the mean negative log likelihood plus ``c = 0.01`` times the sum over the layers of
    the KL's mean over a kernel's elements. Times N it is the objective above, with weight ``N * c / size`` per kernel::

        network = nn.Sequential(bl.Linear(2, 10, bias_prior=None), nn.Tanh(), bl.Linear(10, 1, bias_prior=None))
        kl_weight = {"0.weight": 200 * 0.01 / 20, "2.weight": 200 * 0.01 / 10}    # 0.1 and 0.2

    Args:
        model: The model.
        x: Inputs with N rows in front, or a tuple of inputs; they are moved to the network's device and dtype. Or a
            source of ``(x, y)`` batches: a ``bl.streams`` stream, a ``DataLoader``, or any re-iterable.
        y: Targets, N rows in front (shapes: ``bl.likelihoods``); ``None`` with a source of batches.
        guide: Trained in place; ``None`` makes a ``MeanFieldNormal(model)``, or a ``BlockNormal(model)`` if entries
            belong together (inducing values of a ``GaussianProcess``).
        seed: Seed of everything random in the fit, below ``2**32``.
        num_data: Rows of the whole data set, if ``x`` is a part of it.
        batch_size: Rows per step; ``None`` takes all. The ELBO counts the whole data set in both cases.
        kl_weight: Weight of the KL: one number, or a mapping from site name to weight (other sites have weight 1).
        estimator: How gradients are estimated: ``"reparameterization"``, ``"local"`` (noise on the outputs of
            linear layers; other weights use reparameterization) or ``"flipout"``; ``None`` chooses a suitable one.
        particles: Draws of the weights per step, an even number in antithetic pairs; ``None`` chooses 1 to 16.
        learning_rate: Learning rate of Adam at the first step; ``None`` chooses by width and depth of the network.
        max_steps: Maximal number of steps, without those of the short fits (1800), which a fit of fewer than 5400 steps
            leaves out; a fit that has converged stops earlier.
        max_seconds: Time after which no further step is taken; the evaluation of the result comes after it.
        compile: How steps are run: ``"eager"``; ``"captured"``, where a step's operations are recorded once and then
            run without Python code; or ``"compiled"``, where they are also compiled by torch, which needs a C++
            compiler and tens of seconds. ``None`` chooses before the first step.
        optimizer: Makes an optimizer from a list of parameters, in place of Adam with its decaying rate, for instance
            ``lambda p: torch.optim.SGD(p, lr=1e-3)``; stages and the convergence test do not change.
        sample_weight: Factor of each row's log likelihood, ``(N,)``, 0 or more: weight 2 counts a row twice. With a
            source of batches ``"third"``, which takes the third item of each ``(x, y, weight)``.
        validation: Held-out inputs and targets; progress bar and ``result.validation`` show their mean log likelihood.
        checkpoint: A folder, or a ``bl.Checkpoint``, in which the fit saves its state. After the fit was stopped or
            killed, the same call resumes it and gives the same numbers to the last bit. After a finished fit it
            returns the result at once. SIGINT and SIGTERM save the state and stop the fit after its present step.
        progress: Whether to show a progress bar with the ELBO.
        callbacks: Called after each step with the attributes ``step``, ``objective`` and ``validation``; a true value
            stops the fit. A checkpoint does not save their state.

    Returns:
        The posterior, with the history, the ELBO and its error.

    Raises:
        TypeError: If ``model`` is not a ``BayesianModel``, ``guide`` not a guide, or ``x`` or ``y`` not a tensor.
        ShapeError: If shapes do not belong together.
        DataError: If a value or a setting is NaN, infinite or out of range, if the network does not accept ``x`` or
            writes to buffers in evaluation mode, or inside ``torch.inference_mode``.
        SiteError: If ``kl_weight`` or the guide does not fit the model, or the model has no likelihood.
        DivergenceError: If the objective becomes NaN or infinite.
        StorageError: If ``checkpoint`` cannot be written, is in use, or belongs to another fit.
        KeyboardInterrupt: After SIGINT, with a checkpoint; the guide is then as before the call.
        SystemExit: After SIGTERM, with a checkpoint; the guide is then as before the call.

    Warns:
        FitWarning: If inputs or targets are far from unit scale, no parameter has a prior, batch normalization has
            seen no data, layers write to buffers, rows see each other, or the requested estimator covers nothing.
        ConvergenceWarning: If the fit stopped before it converged.

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
    check_is_model(model)
    settings = Settings(
        seed=seed,
        num_data=num_data,
        batch_size=batch_size,
        kl_weight=kl_weight,
        estimator=estimator,
        particles=particles,
        learning_rate=learning_rate,
        max_steps=max_steps,
        max_seconds=max_seconds,
        compile=compile,
        optimizer=optimizer,
    )
    check_call(settings, checkpoint)
    with threads(current()), without_autocast(model):  # the number is read before any computation
        guide = default_guide(model) if guide is None else guide
        check_guide(guide, model, settings.kl_weight)
        job = _Job(model, guide, settings, x, y, sample_weight, validation)
        checkpointer = make_checkpointer(checkpoint, job.fingerprint)
        with seeded(settings.seed), pyro.validation_enabled(False), checkpointer:
            result = job.run(checkpointer, progress, tuple(callbacks))
    for text in result.warnings:
        not_converged = text in result.convergence.warnings()
        warnings.warn(text, ConvergenceWarning if not_converged else FitWarning, stacklevel=2)
    return result


class _Job:
    """One call of ``fit`` after its arguments were checked."""

    def __init__(
        self,
        model: BayesianModel,
        guide: Guide,
        settings: Settings,
        x: Any,
        y: Tensor | None,
        sample_weight: SampleWeight,
        validation: tuple[Inputs, Tensor] | None,
    ) -> None:
        self._start = time.perf_counter()
        self._model, self._guide, self._settings, self._validation = model, guide, settings, validation
        self._program = fitting_copy(model)
        self._data_check = DataCheck(self._program, settings.seed)
        self._batches = make_batches(
            x,
            y,
            network=self._program.network,
            batch_size=settings.batch_size,
            seed=settings.seed,
            num_data=settings.num_data,
            sample_weight=sample_weight,
            check=self._data_check,
        )
        tensors = {} if y is None else {"x": x, "y": y}
        self._tensors = {"sample_weight": sample_weight, "validation": validation, **tensors}

    def fingerprint(self) -> Fingerprint:
        """Return what a checkpoint of this fit compares."""
        settings = self._settings.described()
        return Fingerprint.of(self._model, self._guide, self._tensors, self._batches, settings)

    def run(self, checkpointer: Checkpointer, progress: bool, callbacks: tuple[Callback, ...]) -> FitResult:
        """Train the guide."""
        program, guide, settings = self._program, self._guide, self._settings
        trainer = make_trainer(
            program, guide, self._batches, settings, mode=checkpointer.mode, validation=self._validation
        )
        restarts: list[str] = []
        with threads(threads_of(trainer.work)):
            solved = closed_form.solve(program, guide, self._batches, trainer.priors, settings.seed)
            if solved is None:
                checkpointer.on_start(trainer, self._batches, restarts)
                deadline = self._start + (math.inf if settings.max_seconds is None else settings.max_seconds)
                find_start(trainer, program, self._batches, settings, checkpointer, deadline)
                train(trainer, checkpointer, settings, restarts, progress, callbacks, deadline)
                checkpointer.on_end()
            else:
                trainer.start_from_guide()
                trainer.evaluate()
            log_weights = trainer.log_weights()
            guide.finalize(trainer.state.evaluations[-1].log_likelihoods.flatten(), program)
        texts = [*self._data_check.warnings, *restarts, *checkpointer.warnings()]
        seconds = checkpointer.seconds + (0.0 if checkpointer.finished else time.perf_counter() - self._start)
        return self._result(trainer, solved, log_weights, texts, seconds)

    def _result(
        self,
        trainer: Trainer,
        solved: Convergence | None,
        log_weights: np.ndarray,
        texts: list[str],
        seconds: float,
    ) -> FitResult:
        convergence = trainer.convergence if solved is None else solved
        estimator, asked = trainer.estimator, self._settings.estimator
        if asked not in (None, estimator.name):
            texts = [*texts, estimator.note]
        state, last, schema = trainer.state, trainer.state.evaluations[-1], self._data_check.schema
        posterior = Posterior.from_guide(
            self._model,
            self._guide,
            elbo=last.elbo,
            kl_weight=self._settings.kl_weight,
            converged=convergence.converged,
            data_schema=schema and replace(schema, rows=self._batches.num_data),
        )
        return FitResult(
            posterior=posterior,
            history=np.array(state.history),
            elbo=last.elbo,
            elbo_stderr=last.elbo_stderr,
            objective=last.objective,
            kl_weight=self._settings.kl_weight,
            convergence=convergence,
            steps=state.step,
            seconds=seconds,
            step_mode="none" if solved is not None else trainer.step.mode,
            estimator=estimator.describe(),
            log_weights=log_weights,
            validation=np.array(state.validation).reshape(-1, 2),
            warnings=(*texts, *convergence.warnings()),
            rows_seen=int(last.rows),
            total_weight=float(last.total_weight) if self._batches.weighted else None,
        )
