import copy
import inspect

import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.priors import get_priors


def test_linear_is_torchs_linear(build):
    ours, theirs = build(lambda: bl.Linear(3, 2)), build(lambda: nn.Linear(3, 2))
    x = torch.linspace(0, 1, 12).reshape(4, 3)
    assert torch.equal(ours(x), theirs(x))
    assert isinstance(ours, nn.Linear)
    assert [name for name, _ in ours.named_parameters()] == ["weight", "bias"]
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def torchs_signature(name):
    """Torch defines the signatures of recurrent layers in their base class, or in overloads."""
    if name in ("LSTM", "GRU"):
        known = dict(inspect.signature(nn.RNNBase).parameters)
        return [n for n in known if n != "mode" and (name == "LSTM" or n != "proj_size")]
    if name == "RNN":
        first, rest = torchs_signature("GRU")[:3], torchs_signature("GRU")[3:]
        return [*first, "nonlinearity", *rest]
    return list(inspect.signature(getattr(nn, name)).parameters)


TORCHS_NAMES = [name for name in bl.layers.__all__ if hasattr(nn, name)]


@pytest.mark.parametrize("name", TORCHS_NAMES)
def test_versions_of_torchs_layers_have_its_signature_and_priors(name):
    layer = getattr(bl, name)
    ours = inspect.signature(layer).parameters
    priors = [n for n in ours if n.endswith("prior")]
    assert [n for n in ours if n not in priors] == torchs_signature(name)
    assert priors == (["prior", "bias_prior"] if "bias" in ours else ["prior"])
    assert all(ours[n].kind is inspect.Parameter.KEYWORD_ONLY for n in priors)
    assert issubclass(layer, getattr(nn, name))
    theirs = inspect.signature(getattr(nn, name)).parameters
    assert all(ours[n].default == theirs[n].default for n in theirs if n in ours)


def test_there_are_versions_of_torchs_layers():
    assert len(TORCHS_NAMES) >= 19


def test_priors_of_weight_and_bias(build):
    narrow, wide = bl.priors.Normal(scale=0.1), bl.priors.Normal(scale=9.0)
    default = bl.priors.default()
    for arguments, weight, bias in (
        ({}, default, default),
        ({"prior": wide}, wide, wide),
        ({"prior": wide, "bias_prior": narrow}, wide, narrow),
        ({"bias_prior": None}, default, None),
    ):
        layer = build(lambda arguments=arguments: bl.Linear(2, 1, **arguments))
        assert get_priors(layer) == get_priors(copy.deepcopy(layer)) == {"weight": weight, "bias": bias}
    assert get_priors(build(lambda: bl.Linear(2, 1, bias=False))) == {"weight": default}


@pytest.mark.parametrize("wrong", [1.0, "Normal", nn.Identity()])
def test_what_is_not_a_prior_is_refused(wrong, build):
    with pytest.raises(TypeError, match=r"bl\.priors"):
        build(lambda: bl.Linear(2, 1, prior=wrong))
    with pytest.raises(TypeError, match=r"bl\.priors"):
        build(lambda: bl.Linear(2, 1, bias_prior=wrong))


def test_device_and_dtype():
    layer = bl.Linear(2, 1, device="meta", dtype=torch.float64)
    assert layer.weight.device.type == "meta"
    assert layer.weight.dtype == torch.float64


def test_repr_shows_every_kind_of_scale(build):
    above = bl.priors.HierarchicalNormal(0.5, bl.priors.LogNormal(0.0, 2.0))
    layer = build(lambda: bl.Linear(2, 1, prior=above, bias_prior=bl.priors.Normal(scale="learned")))
    assert str(layer) == (
        "Linear(in_features=2, out_features=1, bias=True, "
        "weight ~ HierarchicalNormal(loc=0.5, scale=LogNormal(loc=0.0, scale=2.0)), "
        "bias ~ Normal(loc=0.0, scale='learned'))"
    )


SMALL = {
    "Bilinear": (2, 3, 4),
    "Conv2d": (2, 3, 2),
    "ConvTranspose1d": (2, 3, 2),
    "LSTM": (2, 3, 2),
    "GRU": (2, 3),
    "MultiheadAttention": (4, 2),
    "TransformerEncoderLayer": (4, 2, 5),
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("bias_prior", ["as weight", None, bl.priors.Normal(scale=9.0)])
def test_priors_of_all_parameters_of_a_layer_and_of_the_layers_in_it(name, bias_prior, build):
    wide = bl.priors.Normal(scale=2.0)
    layer = build(lambda: getattr(bl, name)(*SMALL[name], prior=wide, bias_prior=bias_prior))
    sites = bl.BayesianModel(layer).sites()
    for site in sites:
        leaf = site.rpartition(".")[2]
        expected = wide if "bias" not in leaf or bias_prior == "as weight" else bias_prior
        assert sites[site].prior == (None if "norm" in site else expected), site
    assert sum("bias" in site for site in sites) == sum("bias" in n for n, _ in layer.named_parameters()) > 0
    assert str(wide) in str(layer)


@pytest.mark.parametrize("name", ["LayerNorm", "GroupNorm", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d"])
def test_normalisation_is_a_point_estimate_unless_asked(name):
    arguments = (1, 3) if name == "GroupNorm" else (3,)
    near_one = bl.priors.Normal(1.0, 0.1)
    kind = getattr(bl, name)
    assert get_priors(kind(*arguments)) == {"weight": None, "bias": None}
    assert get_priors(kind(*arguments, prior=near_one)) == {"weight": near_one, "bias": near_one}
    assert get_priors(kind(*arguments, prior=near_one, bias_prior=None)) == {"weight": near_one, "bias": None}
    without = {"elementwise_affine" if name == "LayerNorm" else "affine": False}
    assert get_priors(kind(*arguments, **without, prior=near_one)) == {}
    assert list(get_priors(kind(*arguments, bias=False, prior=near_one))) == ["weight"]
    with pytest.raises(TypeError, match=r"bl\.priors"):
        kind(*arguments, prior=1.0)


def test_repr_of_a_layer_with_layers_in_it(build):
    attention = build(lambda: bl.MultiheadAttention(4, 2, bias_prior=None))
    assert (
        "in_proj_weight ~ Normal(loc=0.0, scale=1.0), in_proj_bias: point, out_proj.weight ~ Normal"
        in str(attention)
    )


# --- embeddings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refused", [{"max_norm": 1.0}, {"sparse": True}, {"scale_grad_by_freq": True}])
def test_unsupported_options_of_embeddings_are_refused(refused, build):
    name = next(iter(refused))
    with pytest.raises(bl.errors.DataError, match=f"without `{name}`"):
        build(lambda: bl.Embedding(3, 2, **refused))
    network = build(lambda: nn.Sequential(nn.EmbeddingBag(3, 2, **refused)))
    with pytest.raises(bl.errors.DataError, match=rf"\(`0`\) must be without `{name}`"):
        bl.BayesianModel(bl.bayesianize(network))


def tied(kind):
    class Tied(nn.Module):
        """The first owner of the weight is not the embedding."""

        def __init__(self):
            super().__init__()
            self.decoder = nn.Linear(2, 4, bias=False)
            self.encoder = kind.Embedding(4, 2, padding_idx=1)
            self.encoder.weight = self.decoder.weight

        def forward(self, x):
            return self.decoder(self.encoder(x).sum(1) + 1.0)

    return Tied()


@pytest.mark.parametrize(
    "make",
    [
        lambda: bl.Embedding(4, 2, padding_idx=1),
        lambda: bl.bayesianize(nn.Embedding(4, 2, padding_idx=-3)),
        lambda: bl.bayesianize(tied(nn)),
    ],
)
def test_padding_stays_zero_wherever_draws_enter_the_network(make, build):
    network = build(lambda: nn.Sequential(make(), nn.Flatten()))
    model = bl.BayesianModel(network, bl.likelihoods.Normal(1.0))
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.5)
    with torch.no_grad():
        guide.loc += 1.0
    posterior = bl.Posterior.from_guide(model, guide)
    assert len(model.sites()) == 1
    x = torch.ones(3, 1, dtype=torch.long)  # padding alone
    dead = network[0](x).detach().flatten(1) * 0.0
    if hasattr(network[0], "decoder"):  # sees 1 in each unit, and has a row of zeros itself
        p = posterior.predict(x, 16)
        assert (p.mean[:, 1] == 0).all()
        assert (p.epistemic_std[:, [0, 2, 3]] > 0).all()
        return
    assert torch.equal(posterior.functions(5)(x), dead.expand(5, *dead.shape))
    assert torch.equal(posterior.function()(x), dead)
    assert torch.equal(posterior.mean_function()(x), dead)
    p = posterior.predict(x, 16)
    assert (p.mean == 0).all()
    assert (p.epistemic_std == 0).all()
    assert (posterior.predict(x + 1, 16).epistemic_std > 0).all()
    assert (model.prior_predict(x, 16).mean == 0).all()


# --- adapters -------------------------------------------------------------------------------------------------


def test_take():
    results = (torch.arange(24.0).reshape(2, 3, 4), "state")
    assert bl.Take(1)(results) == "state"
    assert bl.Take(-2)(results) is results[0]
    assert torch.equal(bl.Take(0, step=-1)(results), results[0][:, -1])
    assert torch.equal(bl.Take(0, step=1, batch_first=False)(results), results[0][1])
    assert str(bl.Take(0, step=-1)) == "Take(0, step=-1, batch_first=True)"


@pytest.mark.parametrize("wrong", [{"entry": None}, {"entry": 0.5}, {"entry": 0, "step": True}])
def test_take_needs_integers(wrong):
    with pytest.raises(bl.errors.DataError, match="must be an integer"):
        bl.Take(**wrong)


def test_take_names_what_it_needs():
    with pytest.raises(bl.errors.DataError, match=r"Take\(2\) needs .* received 2 entries"):
        bl.Take(2)((torch.ones(1), torch.ones(1)))
    with pytest.raises(bl.errors.DataError, match="received Tensor"):
        bl.Take(0)(torch.ones(3, 2))
    with pytest.raises(bl.errors.DataError, match="received str"):
        bl.Take(1, step=0)((torch.ones(1), "state"))
    with pytest.raises(bl.errors.ShapeError, match="a step 3"):
        bl.Take(0, step=3)((torch.ones(5, 3, 2),))


def test_self_attention(build):
    attention = build(lambda: bl.MultiheadAttention(4, 2, batch_first=True))
    x = torch.linspace(0, 1, 24).reshape(2, 3, 4)
    mask = torch.tensor([[False, False, True], [False, False, False]])
    layer = bl.SelfAttention(attention)
    assert torch.equal(layer(x), attention(x, x, x, need_weights=False)[0])
    masked = layer(x, mask)
    other = x.clone()
    other[0, 2] = 9.0  # what nobody attends to
    torch.testing.assert_close(layer(other, mask)[0, :2], masked[0, :2])
    with pytest.raises(bl.errors.DataError, match="batch_first=True"):
        bl.SelfAttention(nn.MultiheadAttention(4, 2, device="meta"))
    with pytest.raises(TypeError, match="MultiheadAttention"):
        bl.SelfAttention(nn.Identity())


@pytest.mark.slow
def test_a_sentence_fits_predicts_and_comes_back_from_a_file(build, tmp_path):
    def make():
        network = nn.Sequential(
            bl.Embedding(6, 4, padding_idx=0),
            bl.LSTM(4, 5, batch_first=True),
            bl.Take(0, step=-1),
            bl.Linear(5, 1),
        )
        network[1].bias_hh_l0.requires_grad_(False)  # frozen stays frozen
        return network

    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 6, (60, 4), generator=generator)
    y = (x[:, -1] > 2).float()  # the last word decides
    model = bl.BayesianModel(build(make), bl.likelihoods.Bernoulli())
    result = bl.fit(model, x, y, max_steps=300, particles=4, progress=False)
    p = result.posterior.predict(x, 64)
    assert float(((p.mean > 0.5) == y.bool()).float().mean()) > 0.9
    result.posterior.save(tmp_path / "p")
    loaded = bl.load(tmp_path / "p")
    assert torch.equal(loaded.predict(x, 64).mean, p.mean)
    assert "1.bias_hh_l0" not in loaded.model.sites()
    assert torch.equal(loaded.model.network[1].bias_hh_l0, model.network[1].bias_hh_l0)
