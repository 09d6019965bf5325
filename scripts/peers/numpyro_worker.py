"""NumPyro: `AutoNormal`, 16 particles, the loop compiled as a whole by XLA."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import SVI, TraceMeanField_ELBO
from numpyro.infer.autoguide import AutoNormal
from protocol import clock, serve, since, step_ms

SHAPES = {"0.weight": (10, 2), "0.bias": (10,), "2.weight": (1, 10), "2.bias": (1,)}
STEPS = 1000
RATE = 0.1  # at the first step; it falls to zero on half a cosine
# Most of the time is spent on compilation, also of the hundreds of operations of `init`. So there are three recipes: as
# documented; with `init` compiled as one function; and with little optimization by the compiler.
RECIPES = ("svi.run", "init compiled", "init compiled, XLA level 0")
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def model(x, y):
    """Define the article's network, N(0, 1) on all its weights and biases."""
    w = {
        name: numpyro.sample(name, dist.Normal(0.0, 1.0).expand(shape).to_event(len(shape)))
        for name, shape in SHAPES.items()
    }
    f = jnp.tanh(x @ w["0.weight"].T + w["0.bias"]) @ w["2.weight"].T + w["2.bias"]
    with numpyro.plate("data", len(x)):
        numpyro.sample("y", dist.Bernoulli(logits=f.squeeze(-1)), obs=y)


def prepare(particles):
    """Make an SVI of the model and its guide, with the KL in closed form."""

    def rate(i):
        return 0.5 * RATE * (1 + jnp.cos(jnp.pi * jnp.minimum(i / STEPS, 1.0)))

    elbo = TraceMeanField_ELBO(num_particles=particles)
    return SVI(model, AutoNormal(model), numpyro.optim.Adam(rate), elbo)


def load(request):
    """Read the data as JAX arrays."""
    with np.load(request["data"]) as arrays:
        return jnp.asarray(arrays["x"]), jnp.asarray(arrays["y"])


def article(request):
    """Fit to the optimum; the time includes tracing and compilation."""
    recipe = request["recipe"]
    if recipe not in RECIPES:
        raise ValueError(f"no recipe {recipe!r}")
    if recipe.endswith("XLA level 0"):
        os.environ["XLA_FLAGS"] = QUICK  # read when the first array is made
    x, y = load(request)
    start = clock()
    key = jax.random.PRNGKey(request["seed"])
    svi = prepare(16)
    state = None if recipe == "svi.run" else jax.jit(svi.init)(key, x, y)
    fitted = svi.run(key, STEPS, x, y, progress_bar=False, init_state=state)
    parameters = jax.block_until_ready(fitted.params)
    seconds = since(start)
    loc = {name: np.asarray(parameters[f"{name}_auto_loc"]).tolist() for name in SHAPES}
    scale = {name: np.asarray(parameters[f"{name}_auto_scale"]).tolist() for name in SHAPES}
    return {**seconds, "steps": STEPS, "loc": loc, "scale": scale}


def step(request):
    """Time a warm step in milliseconds: many steps per call, compiled before."""
    x, y = load(request)
    svi = prepare(request["particles"])
    state = svi.init(jax.random.PRNGKey(request["seed"]), x, y)

    @jax.jit
    def many(state):
        return jax.lax.fori_loop(0, request["steps"], lambda _, s: svi.update(s, x, y)[0], state)

    return {"ms": step_ms(lambda _: jax.block_until_ready(many(state)), request["steps"])}


if __name__ == "__main__":
    serve({"article": article, "step": step})
