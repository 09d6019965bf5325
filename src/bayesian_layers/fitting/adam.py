"""Adam over a few flat parameters.

Not ``torch.optim.Adam``: making one imports torch's compiler, which takes a second of every process and
changes the caller's warnings filters.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Adam:
    r"""Adam with bias correction, :math:`\theta \leftarrow \theta - r\, \hat m / (\sqrt{\hat v} + \epsilon)`.

    Args:
        parameters: Written to in place.
        betas: Decay of the first and of the second moment.
        epsilon: Added to the root of the second moment.

    References:
        Kingma & Ba (2015), arXiv 1412.6980.
    """

    def __init__(
        self, parameters: Iterable[Tensor], betas: tuple[float, float] = (0.9, 0.99), epsilon: float = 1e-8
    ) -> None:
        self.parameters = list(parameters)
        self.betas = betas
        self.epsilon = epsilon
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients: Iterable[Tensor], rate: float) -> None:
        """Take one step.

        Args:
            gradients: One a parameter.
            rate: Learning rate of this step.
        """
        self.steps += 1
        first, second = (1 - beta**self.steps for beta in self.betas)
        for parameter, gradient, (m, v) in zip(self.parameters, gradients, self.moments, strict=True):
            m.lerp_(gradient, 1 - self.betas[0])
            v.lerp_(gradient.square(), 1 - self.betas[1])
            parameter.addcdiv_(m, (v / second).sqrt_().add_(self.epsilon), value=-rate / first)
