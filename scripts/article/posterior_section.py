"""The section about the exact posterior: Keras, mean field, refined and, where it was run, NUTS."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesian_layers.reporting import figures
from bayesian_layers.reporting.page import Block, Gallery, Paragraphs, Picture, Points, Section, Table
from bayesian_layers.reporting.scores import number

from . import square_figures
from .article_results import ArticleRun
from .methods import DEFAULT, KERAS, near_and_far
from .text import METRICS

MEAN_FIELD, REFINED, NUTS = "mean_field", "refined", "nuts"
NAMES = {KERAS: "Keras", MEAN_FIELD: "mean field", REFINED: "refined", NUTS: "NUTS"}
_LEAD = (
    "The default guide (mean field) is a product of independent Normal distributions, one per weight. In the posterior "
    "the weights depend on each other, so mean field combines weights that do not fit together, and the means and "
    "standard deviations of its predictions are not exact. posterior.refine starts a chain of Hamiltonian Monte Carlo "
    "at each draw from the guide; together the chains move to the posterior of the model."
)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean absolute difference of two maps."""
    return float(np.mean(np.abs(one - other)))


def section(run: ArticleRun) -> Section:
    """Return the section."""
    blocks: tuple[Block, ...] = (Paragraphs((_LEAD,)), *_maps(run), table(run), Points(_chains(run)))
    return Section("From mean field to the exact posterior", blocks)


def _mean_and_std(run: ArticleRun) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return mean and standard deviation on the mesh of every method that has both."""
    default = run.bayes[DEFAULT]
    sampled = {name: (each.mean, each.std) for name, each in run.sampled.items()}
    return {MEAN_FIELD: (default.mesh_mean, default.mesh_std), **sampled}


def _maps(run: ArticleRun) -> tuple[Gallery, Gallery]:
    maps = _mean_and_std(run)
    largest = max(float(std.max()) for _, std in maps.values())
    means = [_mean_picture(KERAS, run.keras.mesh)] + [
        _mean_picture(name, mean) for name, (mean, _) in maps.items()
    ]
    return Gallery(tuple(means)), Gallery(
        tuple(_std_picture(name, std, largest) for name, (_, std) in maps.items())
    )


def _mean_picture(name: str, values: np.ndarray) -> Picture:
    what = "probability" if name == KERAS else "mean of P(label = 1)"
    between = 100 * float(np.mean(np.abs(values - 0.5) <= 0.4))
    return Picture(
        f"panel_{name}_mean",
        figures.png(square_figures.heat_map(values, f"{_title(name)}: {what}", "P(label = 1)")),
        f"Heat map of the {what} over the square, {NAMES[name]}",
        f"{_title(name)}: on {between:.0f} % of the square it is between 0.1 and 0.9."
        + (" It is one network, so there is no standard deviation to show." if name == KERAS else ""),
    )


def _std_picture(name: str, values: np.ndarray, largest: float) -> Picture:
    what = "standard deviation"
    return Picture(
        f"panel_{name}_deviation",
        figures.png(
            square_figures.heat_map(values, f"{_title(name)}: {what}", f"{what} of P(label = 1)", largest)
        ),
        f"Heat map of the standard deviation of the probability over the square, {NAMES[name]}",
        f"{_title(name)}: {number(float(np.mean(values)), 4)} on average over the square. All maps in this row have "
        "the same colour scale.",
    )


def _title(name: str) -> str:
    return NAMES[name][0].upper() + NAMES[name][1:]


def table(run: ArticleRun) -> Table:
    """Return the table that compares them."""
    facts = metrics(run)
    columns = ["deviation", "near", "far"]
    header = ["", *(each.label for each in METRICS), "mean standard deviation", "near", "far"]
    if NUTS in run.sampled:
        columns += ["mean_map_distance", "deviation_ratio"]
        header += ["distance from NUTS", "standard deviation / NUTS"]
    rows = []
    for name, own in facts.items():
        scores = [number(own["scores"][each.key], each.digits) for each in METRICS]
        others = [number(own[key], 4) if key in own else "-" for key in columns]
        rows.append((NAMES[name], *scores, *others, number(own["seconds"], 1) if "seconds" in own else "-"))
    caption = (
        f"20,000 test rows and the mesh, seed {run.seeds[0]}. Standard deviations are those of P(label = 1): "
        "over the whole square, near the parabola (within 0.1) and far from it (beyond 0.4)."
    )
    if NUTS in run.sampled:
        caption += (
            " The distance from NUTS is the mean absolute difference between the maps of the mean; for two sets of "
            "1000 draws from the same posterior it is about 0.002."
        )
    return Table((*header, "sampling (s)"), tuple(rows), caption)


def metrics(run: ArticleRun) -> dict[str, dict[str, Any]]:
    """Return the numbers of the section."""
    scores = {KERAS: run.of(KERAS)[0].scores, MEAN_FIELD: run.of(DEFAULT)[0].scores}
    facts: dict[str, dict[str, Any]] = {KERAS: {"scores": dict(scores[KERAS])}}
    exact = run.sampled.get(NUTS)
    if exact is not None:
        facts[KERAS]["mean_map_distance"] = distance(run.keras.mesh, exact.mean)
    for name, (mean, std) in _mean_and_std(run).items():
        near, far = near_and_far(std)
        sampled = run.sampled.get(name)
        own = {
            "scores": dict(scores[name] if sampled is None else sampled.scores),
            "deviation": float(np.mean(std)),
            "near": near,
            "far": far,
        }
        if sampled is not None:
            own |= {"seconds": sampled.seconds, "draws": sampled.draws, "said": sampled.chains}
        if exact is not None and name != NUTS:
            own["mean_map_distance"] = distance(mean, exact.mean)
            own["deviation_ratio"] = own["deviation"] / float(np.mean(exact.std))
        facts[name] = own
    return facts


def _chains(run: ArticleRun) -> tuple[tuple[str, str], ...]:
    lines = [
        (
            f"{_title(name)}:",
            ". ".join([f"{each.draws} draws, {each.chains}", *map(_sentence, each.warnings)]) + ".",
        )
        for name, each in run.sampled.items()
    ]
    if NUTS not in run.sampled:
        how = "not run here, because it takes many minutes: scripts/make_reports article --nuts-draws 500."
        lines.append(("NUTS:", how))
    return tuple(lines)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
