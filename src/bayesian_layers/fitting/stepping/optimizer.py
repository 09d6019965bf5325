"""Adam: its constants, its state, and its update; or an optimizer that the caller makes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...private_apis import fused_adam_

BETAS, EPSILON = (0.9, 0.99), 1e-8

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


class CustomOptimizer:
    """The caller's optimizer; it is made again when the flat vector is another tensor, as after a divergence."""

    def __init__(self, make: MakeOptimizer) -> None:
        self._make = make
        self._optimizer: Any = None
        self._theta: Tensor | None = None

    def step(self, theta: Tensor, gradient: Tensor) -> None:
        """Update the parameters in place."""
        if theta is not self._theta:
            self._theta, self._optimizer = theta, self._make([theta])
        theta.grad = gradient
        self._optimizer.step()
