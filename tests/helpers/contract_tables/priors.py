"""The table of the priors: each as the prior of the weight of a layer with two inputs and one output.

A prior of positive parameters has a row as the prior of a scale.
"""

import torch

import bayesian_layers as bl

PRIORS: dict[str, bl.priors.Prior] = {
    "Normal": bl.priors.Normal(0.1, 2.0),
    "Normal, fan-in": bl.priors.Normal(0.5, "fan_in"),
    "Normal, learned": bl.priors.Normal(scale="learned"),
    "HierarchicalNormal": bl.priors.HierarchicalNormal(),
    "LogNormal": bl.priors.HierarchicalNormal(0.2, bl.priors.LogNormal(0.0, 0.5)),
    "HalfCauchy": bl.priors.HierarchicalNormal(scale=bl.priors.HalfCauchy(0.5)),
    "ElementwiseNormal": bl.priors.ElementwiseNormal(torch.tensor([[0.1, -0.2]]), torch.tensor([[1.0, 0.5]])),
    "ScaleMixture": bl.priors.ScaleMixture(0.5, (1.0, 0.3)),
    "Laplace": bl.priors.Laplace(0.4, 2.0),
    "StudentT": bl.priors.StudentT(3.0, 0.2, 1.5),
    "LogUniform": bl.priors.LogUniform(),
    "Horseshoe": bl.priors.Horseshoe(1.0, 0.5),
    "Whitened": bl.priors.Whitened(),
    "Noise": bl.priors.Noise(),
}


def layer_with(prior: bl.priors.Prior, **options) -> bl.Linear:
    """A layer whose weight has the prior."""
    return bl.Linear(2, 1, prior=prior, **{"bias_prior": bl.priors.Normal(), **options}).double()
