"""Plain Pyro: `SVI.step` in a loop, with `AutoNormal`."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from protocol import clock, serve, since, step_ms
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal, init_to_median
from pyro.optim import Adam, ClippedAdam

SHAPES = {"w1": (10, 2), "b1": (10,), "w2": (1, 10), "b2": (1,)}
NAMES = {"w1": "0.weight", "b1": "0.bias", "w2": "2.weight", "b2": "2.bias"}
# Particles, steps, initial learning rate, and the part of it that remains at the end.
RECIPES = {
    "16 particles, 1000 steps": (16, 1000, 0.1, 0.01),
    "16 particles, 1500 steps": (16, 1500, 0.1, 0.01),
}


def model(x, y):
    """Define the article's network, N(0, 1) on all its weights and biases, perhaps with an axis of particles."""
    w = {
        name: pyro.sample(name, dist.Normal(0.0, 1.0).expand(shape).to_event(len(shape)))
        for name, shape in SHAPES.items()
    }
    hidden = torch.tanh(x @ w["w1"].mT + w["b1"].unsqueeze(-2))
    f = (hidden @ w["w2"].mT + w["b2"].unsqueeze(-2)).squeeze(-1)
    f = f.squeeze(-2) if f.dim() > 1 else f  # the axis that the plate uses
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("y", dist.Bernoulli(logits=f), obs=y)


def load(request):
    """Read the data as tensors; set the number of threads, and turn validation off."""
    torch.set_num_threads(request["threads"])
    pyro.set_rng_seed(request["seed"])
    pyro.enable_validation(False)
    with np.load(request["data"]) as arrays:
        return torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])


def prepare(particles, optimizer):
    """Make an SVI of the model and its guide, with vectorized particles."""
    guide = AutoNormal(model, init_loc_fn=init_to_median)
    elbo = Trace_ELBO(num_particles=particles, vectorize_particles=particles > 1, max_plate_nesting=1)
    return SVI(model, guide, optimizer, elbo), guide


def article(request):
    """Fit to the optimum."""
    particles, steps, rate, left = RECIPES[request["recipe"]]
    x, y = load(request)
    start = clock()
    svi, guide = prepare(particles, ClippedAdam({"lr": rate, "lrd": left ** (1 / steps)}))
    for _ in range(steps):
        svi.step(x, y)
    seconds = since(start)
    loc = {full: getattr(guide.locs, short).detach().tolist() for short, full in NAMES.items()}
    scale = {full: getattr(guide.scales, short).detach().tolist() for short, full in NAMES.items()}
    return {**seconds, "steps": steps, "loc": loc, "scale": scale}


def one_particle(request):
    """Run the loop of Pyro's introduction, 30,000 steps, timed on `measured_steps` of them."""
    x, y = load(request)
    measured, steps = request["measured_steps"], 30_000
    start = clock()
    svi, _ = prepare(1, Adam({"lr": 0.01}))
    for _ in range(measured):
        svi.step(x, y)
    seconds = since(start)
    return {
        **{key: value * steps / measured for key, value in seconds.items()},
        "steps": steps,
        "measured_steps": measured,
    }


def step(request):
    """Time a warm step, in milliseconds."""
    x, y = load(request)
    svi, _ = prepare(request["particles"], ClippedAdam({"lr": 0.01}))

    def run(steps):
        for _ in range(steps):
            svi.step(x, y)

    return {"ms": step_ms(run, request["steps"])}


if __name__ == "__main__":
    serve({"article": article, "one_particle": one_particle, "step": step})
