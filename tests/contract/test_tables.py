"""Every public member of a family has a row in its table, so that the checks of the contract go over it."""

import pytest
from torch import nn

import bayesian_layers as bl
from contract_tables import GUIDES, LAYERS, LIKELIHOODS, PRIORS


def members(room, base):
    kinds = (getattr(room, name) for name in room.__all__)
    return {kind.__name__ for kind in kinds if isinstance(kind, type) and issubclass(kind, base)} - {
        base.__name__
    }


def named(table):
    return {name.partition(",")[0] for name in table}


def layers_in(row):
    return {type(module).__name__ for module in row.network().modules()}


@pytest.mark.parametrize(
    ("room", "base", "found"),
    [
        (bl.guides, bl.guides.Guide, named(GUIDES)),
        (bl.priors, bl.priors.Prior, named(PRIORS)),
        (bl.likelihoods, bl.likelihoods.Likelihood, named(LIKELIHOODS)),
    ],
)
def test_every_member_has_a_row(room, base, found):
    assert found == members(room, base)


def test_every_layer_is_in_a_row():
    # Of a density without inputs there is a problem; it is no layer of a network.
    assert members(bl.layers, nn.Module) - {"NoContext"} <= set.union(*map(layers_in, LAYERS.values()))


def test_rows_have_what_their_names_promise():
    for name, row in LIKELIHOODS.items():
        assert type(row.likelihood).__name__ == name.partition(",")[0]
    for name, prior in PRIORS.items():
        scale = getattr(prior, "scale", None)
        assert name.partition(",")[0] in (type(prior).__name__, type(scale).__name__)
