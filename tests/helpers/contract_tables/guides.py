"""The table of the guides: a function of a model that makes each."""

from collections.abc import Callable

import torch

import bayesian_layers as bl


def _flow(model):
    """A flow away from the identity, where only the last layers of the couplings have a gradient."""
    guide = bl.guides.Flow(model, layers=2, hidden=(4,))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in guide.flow.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return guide


GUIDES: dict[str, Callable[[bl.BayesianModel], bl.guides.Guide]] = {
    "MeanFieldNormal": bl.guides.MeanFieldNormal,
    "BlockNormal": bl.guides.BlockNormal,
    "LowRankNormal": bl.guides.LowRankNormal,
    "FullRankNormal": bl.guides.FullRankNormal,
    "MatrixNormal": bl.guides.MatrixNormal,
    "Ensemble": lambda model: bl.guides.Ensemble(model, members=2),
    "Flow": _flow,
}
