"""`bl.load` with the caller's network: what differs from the stored one is named."""

import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.errors import StorageError

X = torch.linspace(-1, 1, 12).reshape(6, 2)


class Network(nn.Module):
    """A module that no file describes, with one layer at two places or two layers."""

    def __init__(self, width=3, *, shared=True, bias=True):
        super().__init__()
        self.first = nn.Linear(2, width, bias=bias)
        self.middle = nn.Linear(width, width)
        self.again = self.middle if shared else nn.Linear(width, width)
        self.last = nn.Linear(width, 1)

    def forward(self, x):
        return self.last(self.again(self.middle(self.first(x)).tanh()).tanh())


def saved(network, folder):
    model = bl.BayesianModel(bl.bayesianize(network), bl.likelihoods.Normal(0.5))
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    posterior.save(folder)
    return posterior


def refusal(folder, network, error=StorageError):
    with pytest.raises(error) as caught:
        bl.load(folder, network=network)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def differing(*differences):
    return (
        f"`network` must have the parameters of the stored network; received others: {'; '.join(differences)}. "
        "Pass a network of the same architecture."
    )


@pytest.mark.parametrize("shared", [True, False])
def test_a_module_at_two_places_is_loaded_into_such_a_network(shared, tmp_path, build):
    posterior = saved(build(lambda: Network(shared=shared)), tmp_path / "p")
    loaded = bl.load(tmp_path / "p", network=build(lambda: Network(shared=shared), seed=1))
    assert torch.equal(loaded.predict(X, 20).mean, posterior.predict(X, 20).mean)
    assert (loaded.model.network.again is loaded.model.network.middle) == shared


def test_shared_modules_must_be_shared_as_they_were(tmp_path, build):
    saved(build(Network), tmp_path / "shared")
    saved(build(lambda: Network(shared=False)), tmp_path / "apart")
    own = "is its own, and is stored as sharing its values with another parameter"
    assert refusal(tmp_path / "shared", build(lambda: Network(shared=False))) == differing(
        f"'again.weight' {own}", f"'again.bias' {own}"
    )
    tied = "shares its values with another parameter, and is stored as its own"
    assert refusal(tmp_path / "apart", build(Network)) == differing(
        f"'again.weight' {tied}", f"'again.bias' {tied}"
    )


@pytest.mark.parametrize(
    "guide", [bl.guides.MeanFieldNormal, bl.guides.LowRankNormal, bl.guides.FullRankNormal]
)
def test_another_width_is_named_with_both_shapes(guide, tmp_path, build):
    model = build(lambda: bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Normal(0.5)))
    bl.Posterior.from_guide(model, guide(model)).save(tmp_path / "p")
    assert refusal(tmp_path / "p", build(lambda: nn.Linear(4, 1))) == differing(
        "'weight' has shape (1, 4), and (1, 2) is stored"
    )


def test_of_many_differences_some_are_named(tmp_path, build):
    saved(build(Network), tmp_path / "p")
    text = refusal(tmp_path / "p", build(lambda: Network(4)))
    assert "'first.weight' has shape (4, 2), and (3, 2) is stored; 'first.bias' has shape (4,), " in text
    assert "; 1 more. Pass a network of the same architecture." in text


def test_parameters_that_only_one_has_are_named_with_their_shapes(tmp_path, build):
    saved(build(Network), tmp_path / "bias")
    saved(build(lambda: Network(bias=False)), tmp_path / "none")
    assert refusal(tmp_path / "bias", build(lambda: Network(bias=False))) == differing(
        "'first.bias' (3,) is missing"
    )
    assert refusal(tmp_path / "none", build(Network)) == differing("'first.bias' (3,) is not stored")


def test_the_argument_is_a_network(tmp_path, build):
    posterior = saved(build(Network), tmp_path / "p")
    for wrong, received in ((Network, "type"), ("Network", "str"), (posterior, "Posterior")):
        assert refusal(tmp_path / "p", wrong, TypeError).endswith(f"; received {received}.")
    text = refusal(tmp_path / "p", posterior.model, TypeError)
    assert text.endswith("received BayesianModel. Pass model.network.")


def test_without_a_network_the_reasons_are_named(tmp_path, build):
    layer = build(lambda: nn.Linear(2, 2))
    for network in (build(Network), nn.Sequential(layer, nn.Tanh(), layer, build(lambda: nn.Linear(2, 1)))):
        saved(network, tmp_path / "p")
        text = refusal(tmp_path / "p", None)
        assert (
            "modules that the library does not know, or one module at two places: pass a network of" in text
        )
