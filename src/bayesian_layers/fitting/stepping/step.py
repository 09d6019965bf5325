"""One step of a fit, and three ways to run it: eagerly, recorded, recorded and compiled."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import functional_call

from ...private_apis import fused_adam_
from ..data.batches import Batch
from ..schedule import Schedule
from .capture import CaptureError, Function, capture
from .flat import FlatParameters
from .objective import Objective

Mode = Literal["eager", "captured", "compiled"]
Optimizer = Callable[[list[Tensor]], Any]
BETAS, EPSILON = (0.9, 0.99), 1e-8
_log = logging.getLogger(__name__)


# Recording costs about as much as three eager steps. Compiling takes half a minute and more: only who asks gets it.
_FEWEST_TO_RECORD = 10


def choose_mode(schedule: Schedule) -> Mode:
    """Choose how to run the steps of a fit, before the first."""
    return "captured" if schedule.max_steps >= _FEWEST_TO_RECORD else "eager"


@dataclass
class Position:
    """Where a fit stands: its parameters and Adam's two moments of the gradient, flat vectors.

    Attributes:
        theta: The guide's parameters.
        first: Decaying mean of the gradient.
        second: Decaying mean of its square.
    """

    theta: Tensor
    first: Tensor
    second: Tensor

    @classmethod
    def start(cls, theta: Tensor) -> Position:
        """Begin at a point."""
        return cls(theta, torch.zeros_like(theta), torch.zeros_like(theta))

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Give the three vectors, which a step writes to."""
        return self.theta, self.first, self.second


@dataclass(frozen=True)
class Draws:
    """What is random in some steps, and how far they go.

    Attributes:
        rates: Adam's learning rates, ``(count,)``.
        clocks: The numbers of the steps, counted from 1, ``(count,)``.
        noise: The guide's noise, ``(count, S, noise_size)``.
        row_noise: The estimator's noise, ``(count, ...)`` each.
    """

    rates: Tensor
    clocks: Tensor
    noise: Tensor
    row_noise: tuple[Tensor, ...] = ()

    def tensors(self) -> tuple[Tensor, ...]:
        """Give all tensors in order."""
        return (self.rates, self.clocks, self.noise, *self.row_noise)


class Stepper:
    r"""Takes steps of Adam on a stochastic objective.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
              \theta \leftarrow \theta - r\, \hat m / (\sqrt{\hat v} + \epsilon)

    A recorded step is made for each form of batch that comes (the last of an epoch may be smaller), and
    checked against the eager one on other noise before it is used. What cannot be recorded runs eagerly.

    Args:
        objective: What is minimised.
        flat: How its guide's parameters lie in the flat vector.
        mode: How to run the step.
        steps_a_call: Steps that a compiled call takes on one batch.
        optimizer: Makes the caller's own optimizer of the flat vector, in place of Adam.

    Attributes:
        objective: What is minimised.
        steps_a_call: Steps of a full call.
        mode: How steps run; ``"eager"`` once something could not be recorded.
        note: Why it is not what was asked for, or empty.

    References:
        Kingma & Ba (2015), arXiv 1412.6980.
    """

    def __init__(
        self,
        objective: Objective,
        flat: FlatParameters,
        mode: Mode,
        *,
        steps_a_call: int = 1,
        optimizer: Optimizer | None = None,
    ) -> None:
        own = optimizer is not None
        self.steps_a_call = steps_a_call if mode == "compiled" and not own else 1
        self._optimizer = _OwnOptimizer(optimizer) if own else None
        self.objective = objective
        self._flat = flat
        self._recorded: dict[object, Function] = {}
        self.mode: Mode = mode
        self.note = ""

    def take(self, position: Position, draws: Draws, batch: Batch) -> list[float]:
        """Take steps on one batch."""
        inputs = (*position.tensors(), *draws.tensors(), *_tensors(batch))
        function = self._function(draws, batch, inputs)
        with torch.no_grad():
            losses, *gradient = function(*inputs)
            if self._optimizer is not None:
                self._optimizer.step(position.theta, *gradient)
        return losses.tolist()

    def _function(self, draws: Draws, batch: Batch, inputs: tuple[Tensor, ...]) -> Function:
        adam = _plain_adam if self.mode == "compiled" else _fused_adam
        adam = adam if self._optimizer is None else None
        eager = _Program(self.objective, self._flat, draws, batch, adam)
        if self.mode == "eager":
            return eager
        form = (batch.scale, *(tensor.shape for tensor in inputs))
        if form not in self._recorded:
            try:
                # An odd number of steps at a stage's end is not worth another compilation.
                compiled = self.mode == "compiled" and len(draws.rates) == self.steps_a_call
                other = _elsewhere(inputs, draws, batch)
                with _same_random_state(inputs[0].device):
                    self._recorded[form] = _record(eager, inputs, other, compiled)
            except Exception as error:  # whatever a network does that cannot be recorded, it can still be run
                self.note = f"steps run eagerly: {_first_line(error)}"
                _log.info(self.note)
                self.mode = "eager"
                return self._function(draws, batch, inputs)
        return self._recorded[form]


def _same_random_state(device: torch.device) -> AbstractContextManager[None]:
    """Recording draws for dropout: a fit that goes on records at another step, whose draws must stay the same."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


class _Program:
    """The eager steps, as a function of tensors alone."""

    def __init__(
        self, objective: Objective, flat: FlatParameters, draws: Draws, batch: Batch, adam: Adam | None
    ) -> None:
        self._adam = adam
        self._objective = objective
        self._flat = flat
        self._count = len(draws.rates)
        self._row_noises = len(draws.row_noise)
        self._batch = batch
        self._natural = adam is not None and objective.guide.has_natural_coordinates

    def __call__(
        self,
        theta: Tensor,
        first: Tensor,
        second: Tensor,
        rates: Tensor,
        clocks: Tensor,
        noise: Tensor,
        *rest: Tensor,
    ) -> tuple[Tensor, ...]:
        row_noise, batch = rest[: self._row_noises], _like(self._batch, rest[self._row_noises :])
        losses = []
        for i in range(self._count):
            loss, gradient = self._gradient(theta, noise[i], tuple(part[i] for part in row_noise), batch)
            if self._adam is None:
                return loss.unsqueeze(0), gradient
            with torch.no_grad():
                self._move(self._adam, theta, gradient, first, second, clocks[i], rates[i])
            losses.append(loss)
        return (torch.stack(losses),)

    def _gradient(
        self, theta: Tensor, noise: Tensor, row_noise: tuple[Tensor, ...], batch: Batch
    ) -> tuple[Tensor, Tensor]:
        guide = self._objective.guide
        with torch.enable_grad():
            if self._natural:  # with respect to the step from here
                leaf = torch.zeros_like(theta).requires_grad_()
                values = guide.retract(self._flat.views(theta.detach()), self._flat.views(leaf))
            else:
                leaf = theta.detach().requires_grad_()
                values = self._flat.views(leaf)
            views = {f"guide.{name}": view for name, view in values.items()}
            arguments = (noise, row_noise, batch.x, batch.y, batch.weight, batch.scale)
            loss = functional_call(self._objective, views, arguments)
            (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient

    def _move(self, adam: Adam, theta: Tensor, gradient: Tensor, *rest: Tensor) -> None:
        if not self._natural:
            adam(theta, gradient, *rest)
            return
        step = torch.zeros_like(theta)
        adam(step, gradient, *rest)
        after = self._objective.guide.retract(self._flat.views(theta), self._flat.views(step))
        theta.copy_(torch.cat([value.reshape(-1) for value in after.values()]))


class _OwnOptimizer:
    """The caller's optimizer, on the flat vector that it was made for last."""

    def __init__(self, make: Optimizer | None) -> None:
        self._make: Any = make
        self._optimizer: Any = None
        self._theta: Tensor | None = None

    def step(self, theta: Tensor, gradient: Tensor) -> None:
        if theta is not self._theta:
            self._theta, self._optimizer = theta, self._make([theta])
        theta.grad = gradient
        self._optimizer.step()


Adam = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], None]


def _fused_adam(
    theta: Tensor, gradient: Tensor, first: Tensor, second: Tensor, clock: Tensor, rate: Tensor
) -> None:
    """Adam as one operation, one pass over the memory."""
    fused_adam_(theta, gradient, (first, second), clock, rate, betas=BETAS, epsilon=EPSILON)


def _plain_adam(
    theta: Tensor, gradient: Tensor, first: Tensor, second: Tensor, clock: Tensor, rate: Tensor
) -> None:
    """Adam in operations that torch's compiler understands, and fuses by itself."""
    one, two = (1 - torch.exp(clock * math.log(beta)) for beta in BETAS)
    first.lerp_(gradient, 1 - BETAS[0])
    second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
    theta.sub_(rate / one * first / ((second / two).sqrt() + EPSILON))


def _record(
    eager: _Program, inputs: tuple[Tensor, ...], other: tuple[Tensor, ...], compiled: bool
) -> Function:
    """Record a step on copies, and see that it does what the eager one does elsewhere."""
    recorded = capture(eager, _copies(inputs), overloads=compiled).run
    run = _compile(recorded, other) if compiled else recorded
    one, two = _copies(other), _copies(other)
    state = torch.random.get_rng_state()
    first = eager(*one)
    torch.random.set_rng_state(state)
    with torch.no_grad():
        second = run(*two)
    if not all(_close(a, b) for a, b in zip((*first, *one[:3]), (*second, *two[:3]), strict=True)):
        raise CaptureError("the recorded step gives other numbers than the network itself")
    return run


def _compile(recorded: Function, inputs: tuple[Tensor, ...]) -> Function:
    """Compile a recording; torch's compiler changes the warnings filters when it is first imported."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        # Of a small network's step, a third is the calls from Python between the kernels: they are compiled, too.
        function = torch.compile(recorded, options={"cpp_wrapper": True})
        function(*_copies(inputs))
    return function


def _elsewhere(inputs: tuple[Tensor, ...], draws: Draws, batch: Batch) -> tuple[Tensor, ...]:
    """The same inputs but for other noise, and targets that belong to other rows."""
    changed = list(inputs)
    for i in range(5, 6 + len(draws.row_noise)):
        changed[i] = 0.7 * changed[i].roll(1, -1)
    y = len(changed) - (1 if batch.weight is None else 2)
    changed[y] = changed[y].roll(1, 0)
    return tuple(changed)


def _tensors(batch: Batch) -> tuple[Tensor, ...]:
    x = batch.x if isinstance(batch.x, tuple) else (batch.x,)
    return (*x, batch.y, *(() if batch.weight is None else (batch.weight,)))


def _like(batch: Batch, tensors: Sequence[Tensor]) -> Batch:
    """A batch of the same form of other tensors, in the order of :func:`_tensors`."""
    parts = list(tensors)
    weight = None if batch.weight is None else parts.pop()
    y = parts.pop()
    return Batch(tuple(parts) if isinstance(batch.x, tuple) else parts[0], y, weight, batch.scale)


def _copies(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensor.clone() for tensor in tensors)


def _close(one: Tensor, other: Tensor) -> bool:
    tolerance = 1e4 * torch.finfo(one.dtype).eps
    return bool(torch.isclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True).all())


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{type(error).__name__}: {lines[0][:200]}"
