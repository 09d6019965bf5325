"""Adam: its constants, its state, and its update; or an optimizer that the caller makes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor

from ...private_apis import fused_adam_

BETAS, EPSILON = (0.9, 0.99), 1e-8
LONGEST = 2.0  # length of a gradient, relative to the root mean square of those before

Adam = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], None]
MakeOptimizer = Callable[[list[Tensor]], Any]


@dataclass
class OptimizerState:
    """The trained parameters as one flat vector, and Adam's two moments of the gradient."""

    theta: Tensor
    exp_avg: Tensor  # decaying mean of the gradient
    exp_avg_sq: Tensor  # decaying mean of its square

    @classmethod
    def start(cls, theta: Tensor) -> OptimizerState:
        """Return the state before the first step."""
        return cls(theta, torch.zeros_like(theta), torch.zeros_like(theta))

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three vectors; a step writes to them."""
        return self.theta, self.exp_avg, self.exp_avg_sq


# Kingma & Ba (2015), arXiv 1412.6980: with m and v the moments and r the learning rate,
# m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,  theta <- theta - r m_hat / (sqrt(v_hat) + eps).


def clipped(gradient: Tensor, exp_avg_sq: Tensor, count: Tensor) -> Tensor:
    """Shorten a gradient that is many times as long as those of the steps before, which is that of a rare draw."""
    usual = (exp_avg_sq.sum() / (1 - BETAS[1] ** (count - 1))).sqrt()
    factor = LONGEST * usual / torch.linalg.vector_norm(gradient)
    # At the first step, and for a gradient of zeros, it is 0 / 0.
    return gradient * factor.nan_to_num(nan=1.0, posinf=1.0).clamp_max(1.0)


def fused_adam(
    theta: Tensor, gradient: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, count: Tensor, rate: Tensor
) -> None:
    """Update by torch's fused kernel: one operation, one pass over the memory."""
    fused_adam_(theta, gradient, (exp_avg, exp_avg_sq), count, rate, betas=BETAS, epsilon=EPSILON)


def plain_adam(
    theta: Tensor, gradient: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, count: Tensor, rate: Tensor
) -> None:
    """Update by elementary operations, which torch's compiler can fuse."""
    one, two = (1 - torch.exp(count * math.log(beta)) for beta in BETAS)
    exp_avg.lerp_(gradient, 1 - BETAS[0])
    exp_avg_sq.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
    theta.sub_(rate / one * exp_avg / ((exp_avg_sq / two).sqrt() + EPSILON))


def check_makes_optimizer(make: Any) -> None:
    """Raise TypeError if the argument ``optimizer`` of a fit cannot make one from a list of parameters."""
    if isinstance(make, PyroOptim):
        raise _not_a_maker("a pyro.optim optimizer, which is for pyro.infer.SVI")
    if isinstance(make, torch.optim.Optimizer):
        raise _not_a_maker(f"{type(make).__name__}(...), which already has its parameters")
    if not callable(make):
        raise _not_a_maker(repr(make))
    if isinstance(make, type) and _needs_closure(getattr(make, "step", None), bound=False):
        raise _not_a_maker(f"{make.__name__}, whose `step` needs a closure, which a fit does not give")


def _not_a_maker(received: str) -> TypeError:
    return TypeError(
        "`optimizer` must be a function that makes a torch optimizer from a list of parameters, such as "
        f"lambda p: torch.optim.SGD(p, lr=1e-3); received {received}"
    )


def _needs_closure(step: Any, *, bound: bool) -> bool:
    """Check whether a method has an argument without a default."""
    if not callable(step):
        return False
    parameters = list(inspect.signature(step).parameters.values())[not bound :]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(each.default is inspect.Parameter.empty and each.kind in positional for each in parameters)


def _made(make: MakeOptimizer, theta: Tensor) -> Any:
    """Make an optimizer of the flat vector of all parameters."""
    try:
        optimizer = make([theta])
    except (TypeError, ValueError) as error:
        reason = str(error).strip().split("\n", 1)[0].removesuffix(".")
        raise _not_a_maker(
            f"one that failed on the flat vector of all parameters, shape {tuple(theta.shape)}: {reason}"
        ) from error
    groups = getattr(optimizer, "param_groups", None)
    if groups is None or not callable(getattr(optimizer, "step", None)):
        raise _not_a_maker(f"one that returned {type(optimizer).__name__}")
    if not any(each is theta for group in groups for each in group["params"]):
        raise _not_a_maker(f"one whose {type(optimizer).__name__} has other parameters than the list")
    if _needs_closure(optimizer.step, bound=True):
        name = type(optimizer).__name__
        raise _not_a_maker(
            f"one that returned {name}, whose `step` needs a closure, which a fit does not give"
        )
    return optimizer


class CustomOptimizer:
    """The caller's optimizer; it is made again when the flat vector is another tensor, as after a divergence."""

    def __init__(self, make: MakeOptimizer) -> None:
        self._make = make
        self._optimizer: Any = None
        self._theta: Tensor | None = None

    def step(self, theta: Tensor, gradient: Tensor) -> None:
        """Update the parameters in place."""
        if theta is not self._theta:
            self._theta, self._optimizer = theta, _made(self._make, theta)
        theta.grad = gradient
        self._optimizer.step()
