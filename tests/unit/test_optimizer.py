"""The argument `optimizer` of a fit: what makes no optimizer for it is refused in one sentence, before any step."""

import pyro.optim
import pytest
import torch

import bayesian_layers as bl

X, Y = bl.datasets.parabola(30)
MUST = "`optimizer` must be a function that makes a torch optimizer from a list of parameters, such as lambda p: "
MUST += "torch.optim.SGD(p, lr=1e-3); received "


@pytest.fixture
def model(build):
    return build(lambda: bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli()))


class Closure(torch.optim.SGD):
    def step(self, closure):
        return super().step(closure)


def schedule(parameters):
    return torch.optim.lr_scheduler.StepLR(torch.optim.SGD(parameters), 10)


OTHER = torch.nn.Parameter(torch.zeros(2))
CLOSURE = "whose `step` needs a closure, which a fit does not give"
REFUSED = {
    "pyro": (pyro.optim.Adam({"lr": 1e-2}), "a pyro.optim optimizer, which is for pyro.infer.SVI"),
    "pyro clipped": (pyro.optim.ClippedAdam({}), "a pyro.optim optimizer, which is for pyro.infer.SVI"),
    "instance": (torch.optim.Adam([OTHER]), "Adam(...), which already has its parameters"),
    "text": ("adam", "'adam'"),
    "LBFGS": (torch.optim.LBFGS, f"LBFGS, {CLOSURE}"),
    "closure": (Closure, f"Closure, {CLOSURE}"),
    "made LBFGS": (lambda p: torch.optim.LBFGS(p), f"one that returned LBFGS, {CLOSURE}"),
    "None": (lambda _: None, "one that returned NoneType"),
    "scheduler": (schedule, "one that returned StepLR"),
    "other parameters": (
        lambda _: torch.optim.SGD([OTHER]),
        "one whose SGD has other parameters than the list",
    ),
    "no argument": (
        lambda: None,
        "one that failed on the flat vector of all parameters, shape (6,): "
        "<lambda>() takes 0 positional arguments but 1 was given",
    ),
    "matrices only": (
        torch.optim.Muon,
        "one that failed on the flat vector of all parameters, shape (6,): "
        "Muon only supports 2D parameters whereas we found a parameter with size: torch.Size([6])",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("compile", ["eager", "captured"])
def test_what_makes_no_optimizer_is_refused_before_the_first_step(model, name, compile):
    optimizer, received = REFUSED[name]
    guide = bl.guides.MeanFieldNormal(model)
    before = guide.loc.detach().clone()
    with pytest.raises(TypeError) as caught:
        bl.fit(model, X, Y, guide=guide, optimizer=optimizer, compile=compile, max_steps=3, progress=False)
    assert str(caught.value) == MUST + received
    assert torch.equal(guide.loc, before)


@pytest.mark.parametrize(
    "optimizer",
    [torch.optim.Adam, torch.optim.SGD, lambda p: torch.optim.RMSprop([{"params": p, "lr": 1e-2}])],
)
def test_classes_and_functions_make_optimizers(model, optimizer):
    guide = bl.guides.MeanFieldNormal(model)
    before = guide.loc.detach().clone()
    bl.fit(model, X, Y, guide=guide, optimizer=optimizer, max_steps=3, progress=False)
    assert not torch.equal(guide.loc, before)
