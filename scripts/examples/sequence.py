"""Forecasts of a series by a Bayesian LSTM: each draw of the weights is one forecast."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import bayesian_layers as bl
from _hashing import hash_of
from bayesian_layers.noise import seeded
from bayesian_layers.reporting.figures import METHOD_COLOURS, png
from bayesian_layers.reporting.page import Gallery, Picture, Section, Table

from .common import Example, figure

LENGTH, SEEN, WINDOW = 500, 350, 20
HIDDEN, PATHS, DRAWS = 16, 40, 200
NOISE = 0.1
SEED = 1  # of the series' noise; the settings were chosen on seed 0
KL_WEIGHT, STEPS = 0.1, 3000
EPOCHS = 300  # of the LSTM without a posterior
LEVEL = 0.9


def series(seed: int) -> Tensor:
    """Draw an oscillation whose amplitude varies, with Normal noise."""
    t = torch.arange(LENGTH, dtype=torch.float32)
    with seeded(seed):
        return torch.sin(0.35 * t) * (1 + 0.4 * torch.sin(0.05 * t)) + NOISE * torch.randn(LENGTH)


def windows(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return all windows of a series (inputs), and the value after each (targets)."""
    return values.unfold(0, WINDOW, 1)[:-1].unsqueeze(2), values[WINDOW:]


def network() -> nn.Sequential:
    """Build the LSTM; its last state predicts the next value."""
    prior = bl.priors.Normal(scale="fan_in")
    with seeded(0):
        return nn.Sequential(
            bl.LSTM(1, HIDDEN, batch_first=True, prior=prior),
            bl.Take(0, step=-1),
            bl.Linear(HIDDEN, 1, prior=prior),
        )


def run(quick: bool) -> Example:
    """Fit, forecast one step ahead, and forecast the whole future with single functions."""
    values = series(SEED)
    x, y = windows(values[:SEEN])
    ahead_x, ahead_y = windows(values[SEEN - WINDOW :])
    model = bl.BayesianModel(network(), bl.likelihoods.Normal("learned"))
    steps = 10 if quick else STEPS
    result = bl.fit(model, x, y, kl_weight=KL_WEIGHT, seed=0, particles=2, max_steps=steps, progress=False)
    posterior = result.posterior
    outputs = posterior.draws(ahead_x, num_draws=4 if quick else DRAWS)
    low, high = bl.predictive.interval(outputs, LEVEL)
    inside = ((ahead_y > low) & (ahead_y < high)).float()
    ours = bl.predictive.log_prob(outputs, ahead_y)
    plain, scale = deterministic(x, y, 2 if quick else EPOCHS)
    with torch.no_grad():
        theirs = torch.distributions.Normal(plain(ahead_x).squeeze(1), scale).log_prob(ahead_y)
    gain = ours - theirs
    error = float(gain.std() / len(gain) ** 0.5)
    paths = roll_out(posterior, values[SEEN - WINDOW : SEEN], LENGTH - SEEN, 3 if quick else PATHS)
    rows = (
        ("Bayesian LSTM", f"{float(ours.mean()):.3f}", f"{100 * float(inside.mean()):.0f} %"),
        ("LSTM", f"{float(theirs.mean()):.3f}", f"{100 * _coverage(plain, scale, ahead_x, ahead_y):.0f} %"),
    )
    header = ("network", "nats per step", f"inside the {100 * LEVEL:.0f} % interval")
    caption = (
        f"Predictions of the next value from the last {WINDOW}, for the {len(ahead_y)} steps after the training data. "
        "The LSTM without a posterior has Normal noise with the standard deviation of its residuals."
    )
    alt = "The end of the series, which was not used for training, with forecasts by single functions of the posterior."
    shown = (
        "Grey: training data. Black: the true continuation. Lines: forecasts by single functions of the posterior, "
        "each with its own noise and its own values as inputs. Band: 90 % of the forecasts."
    )
    picture = Picture("paths", _picture(values, paths), alt, shown, whole_row=True)
    return Example(
        title="A series by a Bayesian LSTM",
        lead="One draw of the weights for the whole sequence: each draw is a function that forecasts the future "
         "step by step from its own values.",
        summary=(
            ("One step ahead:", f"{float(ours.mean()):.3f} nats per step, the LSTM without a posterior "
             f"{float(theirs.mean()):.3f}; "
             f"difference {float(gain.mean()):+.3f} ± {error:.3f} ({len(gain)} steps)."),
            (f"{100 * LEVEL:.0f} % intervals:",
             f"they contain {100 * float(inside.mean()):.0f} % of the test values."),
            ("A cold posterior:", f"the KL has weight {KL_WEIGHT}; with the full KL the posterior is too unsure (on "
             "the series on which the settings were chosen: 0.42 nats per step instead of 0.68)."),
            ("The fit:", str(result).splitlines()[1]),
        ),
        sections=(Section("Forecasts", (Gallery((picture,)), Table(header, rows, caption))),),
        metrics={
            "nats_a_step": {"bayesian": float(ours.mean()), "deterministic": float(theirs.mean())},
            "gain": {"mean": float(gain.mean()), "error": error, "steps": len(gain)},
            "coverage": {"level": LEVEL, "share": float(inside.mean())},
            "converged": result.converged,
            "elbo": result.elbo,
        },
        seeds=(SEED,),
        hashes={"series": hash_of(values.numpy())},
    )  # fmt: skip


def deterministic(x: Tensor, y: Tensor, epochs: int) -> tuple[nn.Module, float]:
    """Train the same LSTM without a posterior, by Adam on the squared error."""
    plain = network()
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01)
    for _ in range(epochs):
        optimizer.zero_grad()
        loss = (plain(x).squeeze(1) - y).square().mean()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return plain, float((plain(x).squeeze(1) - y).std())


def _coverage(plain: nn.Module, scale: float, x: Tensor, y: Tensor) -> float:
    wide = float(torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor((1 + LEVEL) / 2))) * scale
    with torch.no_grad():
        return float(((plain(x).squeeze(1) - y).abs() < wide).float().mean())


def roll_out(posterior: bl.Posterior, start: Tensor, steps: int, paths: int) -> Tensor:
    """Forecast with single functions of the posterior, each with its own noise and its own values as inputs."""
    functions = [posterior.function(seed=seed) for seed in range(paths)]
    noise = torch.stack([posterior.sample(1, seed=seed)["noise_scale"][0] for seed in range(paths)])
    with seeded(0):
        shocks = noise.unsqueeze(1) * torch.randn(paths, steps)
    known = start.expand(paths, -1)
    with torch.no_grad():
        for step in range(steps):
            window = known[:, -WINDOW:].unsqueeze(2)
            following = torch.cat([function(window[i : i + 1]) for i, function in enumerate(functions)])
            known = torch.cat([known, following + shocks[:, step : step + 1]], dim=1)
    return known[:, len(start) :]


def _picture(values: Tensor, paths: Tensor) -> bytes:
    canvas = figure(10, 3.8)
    axes = canvas.subplots()
    times = torch.arange(SEEN, LENGTH)
    low, high = paths.quantile(torch.tensor([0.05, 0.95]), dim=0)
    axes.plot(torch.arange(SEEN - 120, SEEN), values[SEEN - 120 : SEEN], color="#888888", lw=1)
    axes.fill_between(times, low, high, color=METHOD_COLOURS[0], alpha=0.2, lw=0)
    axes.plot(times, paths[:6].T, color=METHOD_COLOURS[0], lw=0.6, alpha=0.7)
    axes.plot(times, values[SEEN:], color="black", lw=1)
    axes.axvline(SEEN, color="black", ls=":", lw=1)
    axes.set(xlabel="time", ylabel="value", xlim=(SEEN - 120, LENGTH))
    axes.grid(alpha=0.3)
    return png(canvas)
