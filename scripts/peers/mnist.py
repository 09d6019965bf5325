"""A minibatch step of a 784-400-400-10 network, compared with the deterministic Adam step of that network, in torch.

Every worker on torch uses it, including ours; they differ in the Bayesian step only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from protocol import interleaved_ms
from torch import Tensor, nn
from torch.nn import functional as F

ROWS, BATCH = 1280, 128


def build(linear: Callable[[int, int], nn.Module]) -> nn.Sequential:
    """Build the network from a library's linear layers."""
    return nn.Sequential(linear(784, 400), nn.ReLU(), linear(400, 400), nn.ReLU(), linear(400, 10))


def random_data(seed: int) -> tuple[Tensor, Tensor]:
    """Draw data of the right shapes."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(ROWS, 784, generator=generator)
    return x, torch.randint(10, (ROWS,), generator=generator)


def loop(network: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], seed: int) -> Callable[[int], None]:
    """Build a loop of Adam over random batches."""
    x, y = random_data(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(seed)

    def run(steps: int) -> None:
        taken = 0
        while taken < steps:
            for index in torch.randperm(ROWS, generator=generator).split(BATCH)[: steps - taken]:
                optimizer.zero_grad()
                loss(x[index], y[index]).backward()
                optimizer.step()
                taken += 1

    return run


def deterministic(seed: int) -> Callable[[int], None]:
    """Build the loop of the deterministic network."""
    network = build(nn.Linear)
    return loop(network, lambda x, y: F.cross_entropy(network(x), y), seed)


def compare(
    request: dict[str, Any], linear: Callable[[int, int], nn.Module], kl: Callable[[nn.Module], Tensor]
) -> dict[str, float]:
    """Time the steps of a Bayesian network and of the deterministic one, in turns."""
    torch.set_num_threads(request["threads"])
    torch.manual_seed(request["seed"])
    network = build(linear)
    bayesian = loop(
        network, lambda x, y: F.cross_entropy(network(x), y) + kl(network) / ROWS, request["seed"]
    )
    plain_ms, ms = interleaved_ms(deterministic(request["seed"]), bayesian, request["steps"])
    return {"ms": ms, "deterministic_ms": plain_ms, "ratio": ms / plain_ms}
