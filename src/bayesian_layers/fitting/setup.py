"""From the caller's settings to a trainer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from .. import estimators
from ..arguments import check_choice, check_gradients, check_integer, check_positive
from ..errors import DataError
from ..estimators import Estimator
from ..guides import Guide
from ..model import BayesianModel
from ..network import Inputs, check_inputs, check_targets, dtype_and_device, num_rows, take_rows
from ..private_apis import RUNNING_NORM
from .budget import Costs, EvaluationPlan, Rows, plan_evaluations
from .checks import DataCheck
from .data.batches import Batches
from .evaluation import Evaluator
from .schedule import DEEP, LARGE_NETWORK, Schedule, choose, choose_particles, choose_rate, draws_are_cheap
from .stepping.flat import FlatParameters
from .stepping.objective import Objective
from .stepping.optimizer import MakeOptimizer, check_makes_optimizer
from .stepping.step import MODES, STEPS_PER_CALL, Mode, Step, choose_mode
from .stepping.work import RowWork, row_work
from .trainer import Trainer
from .validation import Validation

_MAX_SEED = 2**32 - 1  # seed and step together must fit into the 64 bits of a torch seed
_VALIDATIONS = 10  # in the first stage


@dataclass(frozen=True)
class Settings:
    """The arguments of ``fit`` other than model, guide and data."""

    seed: int
    num_data: int | None
    batch_size: int | None
    kl_weight: float | Mapping[str, float]
    estimator: str | None
    particles: int | None
    learning_rate: float | None
    max_steps: int | None
    max_seconds: float | None
    compile: Mode | None
    optimizer: MakeOptimizer | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", check_integer("seed", self.seed, least=0, most=_MAX_SEED))
        for name in ("num_data", "batch_size", "particles", "max_steps"):
            value = getattr(self, name)
            if value is not None:  # NumPy's integers become Python's
                object.__setattr__(self, name, check_integer(name, value, least=1))
        for name in ("learning_rate", "max_seconds"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        if self.compile is not None:
            check_choice("compile", self.compile, MODES)
        if self.optimizer is not None:
            check_makes_optimizer(self.optimizer)

    def described(self) -> dict[str, Any]:
        """Return what a checkpoint compares."""
        return {name: value for name, value in asdict(self).items() if name != "optimizer"}


def check_call(settings: Settings, checkpoint: object) -> None:
    """Raise DataError if a fit cannot be run or saved."""
    check_gradients("fit")
    if settings.optimizer is not None and checkpoint is not None:
        raise DataError("a checkpoint cannot save the state of an `optimizer`: pass only one of the two")


def without_autocast(model: BayesianModel) -> AbstractContextManager[Any]:
    """Run a block in the network's dtype, also if the caller uses ``torch.autocast``."""
    device = dtype_and_device(model.network)[1].type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def make_trainer(
    model: BayesianModel,
    guide: Guide,
    batches: Batches,
    settings: Settings,
    *,
    mode: Mode | None,
    validation: tuple[Inputs, Tensor] | None,
) -> Trainer:
    """Make a trainer; settings that are None are chosen for the problem, and ``mode`` goes before them."""
    estimator = _choose_estimator(model, guide, batches, settings.estimator)
    schedule = choose(
        batches.num_batches,
        particles=settings.particles or _choose_particles(guide, batches, estimator),
        learning_rate=settings.learning_rate or choose_rate(guide.max_fan_in, guide.layout.depth),
        max_steps=settings.max_steps,
    )
    step = Step(
        Objective(guide, estimator, guide.flat_priors(model, settings.kl_weight)),
        FlatParameters(guide),
        mode or settings.compile or choose_mode(schedule),
        steps_per_call=STEPS_PER_CALL if batches.num_batches == 1 else 1,
        optimizer=settings.optimizer,
    )
    work = row_work(model.network, next(iter(batches.once())).x)
    evaluator = Evaluator(
        model,
        batches,
        settings.kl_weight,
        _plan(guide, batches, schedule, work, by_rows=estimator.use_for_evaluation),
        seed=settings.seed,
        multiple=guide.particle_multiple,
        by_rows=estimator if estimator.use_for_evaluation else None,
    )
    return Trainer(
        guide,
        step,
        evaluator,
        batches,
        estimator,
        schedule,
        seed=settings.seed,
        work=batches.batch_rows * schedule.particles * max(work.multiplications, guide.noise_size),
        validation=_validation(model, validation, schedule, settings.seed),
    )


def _plan(
    guide: Guide, batches: Batches, schedule: Schedule, work: RowWork, *, by_rows: bool
) -> EvaluationPlan:
    """Choose the size of the evaluations."""
    costs = Costs(
        row=work.multiplications,
        numbers=work.numbers,
        size=guide.noise_size,
        parameters=sum(each.numel() for each in guide.parameters()),
        by_rows=by_rows,
    )
    return plan_evaluations(costs, schedule, batches.batch_rows, Rows.of(batches), guide.particle_multiple)


def fitting_copy(model: BayesianModel) -> BayesianModel:
    """Return a copy of a model whose normalization layers use their running statistics."""
    program = copy.deepcopy(model)
    for module in program.modules():
        if isinstance(module, RUNNING_NORM) and module.track_running_stats:
            module.eval()
    return program


def _choose_estimator(model: BayesianModel, guide: Guide, batches: Batches, name: str | None) -> Estimator:
    first = next(iter(batches.once()))
    x, y = take_rows(first.x, slice(4)), first.y[:4]
    if name is None:
        return estimators.default(model, guide, x, y, prefer_local=_prefers_local(guide, batches))
    return estimators.make(name, model, guide, x, y)


def _size(guide: Guide) -> int:
    return guide.noise_size + guide.point.shape[-1]


def _choose_particles(guide: Guide, batches: Batches, estimator: Estimator) -> int:
    by_rows = estimator.name == "local" and not guide.layout.joint
    multiple = guide.particle_multiple
    return choose_particles(batches.batch_rows, _size(guide), by_rows=by_rows, multiple=multiple)


def _prefers_local(guide: Guide, batches: Batches) -> bool:
    """Return whether noise per row is worth its costs: where draws are dear, and in deep networks."""
    size = _size(guide)
    costly = guide.layout.depth >= DEEP or not draws_are_cheap(batches.batch_rows, size)
    return costly and size <= LARGE_NETWORK


def _validation(
    model: BayesianModel, data: tuple[Inputs, Tensor] | None, schedule: Schedule, seed: int
) -> Validation | None:
    if data is None:
        return None
    if not isinstance(data, tuple) or len(data) != 2:
        raise DataError(f"`validation` must be a pair (x, y); received {type(data).__name__}")
    x = check_inputs(data[0], model.network)
    y = check_targets(data[1], num_rows(x), model.network)
    DataCheck(model, seed)(x, y)
    every = max(1, schedule.first_steps // _VALIDATIONS)
    return Validation(model, x, y, every=every, seed=seed)
