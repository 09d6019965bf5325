"""From the caller's settings to a fit that can start."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from .. import estimators
from ..errors import DataError
from ..estimators import Estimator
from ..guides import Guide
from ..model import BayesianModel
from ..network import Inputs, check_inputs, dtype_and_device, num_rows, take_rows
from ..private_apis import RUNNING_NORM
from .checks import DataCheck, check_targets
from .data.batches import Batches
from .evaluation import Evaluator, Validation
from .schedule import Schedule, choose
from .stepping.flat import FlatParameters
from .stepping.objective import Objective
from .stepping.step import Mode, Optimizer, Stepper, choose_mode
from .stepping.work import multiplications
from .trainer import STEPS_A_CALL, Run

_VALIDATIONS = 10  # in the first stage


@dataclass(frozen=True)
class Settings:
    """What the caller of ``fit`` decides beside model, guide and data; see there."""

    seed: int
    num_data: int | None
    batch_size: int | None
    kl_weight: float | Mapping[str, float]
    estimator: str | None
    particles: int | None
    learning_rate: float | None
    max_steps: int | None
    compile: Mode | None
    optimizer: Optimizer | None

    def described(self) -> dict[str, Any]:
        """Give what a checkpoint compares."""
        return {name: value for name, value in asdict(self).items() if name != "optimizer"}


def arrange(
    model: BayesianModel,
    guide: Guide,
    batches: Batches,
    settings: Settings,
    *,
    mode: Mode | None,
    validation: tuple[Inputs, Tensor] | None,
) -> Run:
    """Choose what the caller left open, and put a fit together."""
    method = _choose_estimator(model, guide, batches, settings.estimator)
    schedule = choose(
        batches.num_batches,
        batches.batch_rows,
        guide.noise_size + guide.point.shape[-1],
        guide.max_fan_in,
        multiple=guide.particle_multiple,
        particles=settings.particles,
        max_steps=settings.max_steps,
        learning_rate=settings.learning_rate,
    )
    priors = guide.flat_priors(model, settings.kl_weight)
    stepper = Stepper(
        Objective(guide, method, priors),
        FlatParameters(guide),
        mode or settings.compile or choose_mode(schedule),
        steps_a_call=STEPS_A_CALL if batches.num_batches == 1 else 1,
        optimizer=settings.optimizer,
    )
    return Run(
        guide,
        stepper,
        Evaluator(
            model,
            batches,
            settings.kl_weight,
            size=guide.noise_size,
            work=multiplications(model.network, next(iter(batches.once())).x),
            seed=settings.seed,
            multiple=guide.particle_multiple,
            by_rows=method if method.use_for_evaluation else None,
        ),
        batches,
        method,
        schedule,
        seed=settings.seed,
        validation=_validation(model, validation, schedule, settings.seed),
    )


def fitting_copy(model: BayesianModel) -> BayesianModel:
    """Copy a model for a fit, which writes to the modes of its modules."""
    program = copy.deepcopy(model)
    for module in program.modules():
        if isinstance(module, RUNNING_NORM) and module.track_running_stats:
            module.eval()
    return program


def _choose_estimator(model: BayesianModel, guide: Guide, batches: Batches, name: str | None) -> Estimator:
    first = next(iter(batches.once()))
    x, y = take_rows(first.x, slice(4)), first.y[:4]
    if name is None:
        return estimators.default(model, guide, x, y)
    return estimators.make(name, model, guide, x, y)


def _validation(
    model: BayesianModel, data: tuple[Inputs, Tensor] | None, schedule: Schedule, seed: int
) -> Validation | None:
    if data is None:
        return None
    if not isinstance(data, tuple) or len(data) != 2:
        raise DataError(f"`validation` must be a pair (x, y); received {type(data).__name__}")
    x = check_inputs(data[0], model.network)
    y = check_targets(data[1], num_rows(x))
    DataCheck(model, seed)(x, y)
    every = max(1, schedule.first_steps // _VALIDATIONS)
    return Validation(model, x, y.to(dtype_and_device(model.network)[1]), every=every, seed=seed)
