"""From the mean field to the posterior itself: Keras, mean field, refined, and where it was run, NUTS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bayesian_layers.reporting import figures
from bayesian_layers.reporting.page import Block, Gallery, Picture, Points, Section, Table, Text
from bayesian_layers.reporting.scores import number

from .methods import DEFAULT, KERAS, near_and_far
from .results import ArticleRun
from .words import METRICS

MEAN_FIELD, REFINED, NUTS = "mean_field", "refined", "nuts"
NAMES = {KERAS: "Keras", MEAN_FIELD: "mean field", REFINED: "refined", NUTS: "NUTS"}
_LEAD = (
    "The default guide gives every weight a Normal of its own. In the posterior the weights depend on each other: "
    "draws of a mean field put weights together that do not go together, and mean and deviation of its "
    "predictions are off. posterior.refine starts one chain of Hamiltonian Monte Carlo at each draw of the guide, and "
    "moves all of them, together, to the posterior that the model says."
)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Average how far two maps are apart."""
    return float(np.mean(np.abs(one - other)))


def section(run: ArticleRun) -> Section:
    """Lay the panel out."""
    blocks: tuple[Block, ...] = (Text((_LEAD,)), *_maps(run), table(run), Points(_chains(run)))
    return Section("From the mean field to the posterior itself", blocks)


def _of(run: ArticleRun) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and deviation on the mesh of all that give both."""
    default = run.bayes[DEFAULT]
    sampled = {name: (each.mean, each.std) for name, each in run.sampled.items()}
    return {MEAN_FIELD: (default.mesh_mean, default.mesh_std), **sampled}


def _maps(run: ArticleRun) -> tuple[Gallery, Gallery]:
    maps = _of(run)
    largest = max(float(std.max()) for _, std in maps.values())
    means = [_mean(KERAS, run.keras.mesh)] + [_mean(name, mean) for name, (mean, _) in maps.items()]
    return Gallery(tuple(means)), Gallery(
        tuple(_deviation(name, std, largest) for name, (_, std) in maps.items())
    )


def _mean(name: str, values: np.ndarray) -> Picture:
    what = "probability" if name == KERAS else "mean of P(label = 1)"
    between = 100 * float(np.mean(np.abs(values - 0.5) <= 0.4))
    return Picture(
        f"panel_{name}_mean",
        figures.png(figures.heat_map(values, f"{_title(name)}: {what}", "P(label = 1)")),
        f"Heat map of the {what} over the square, {NAMES[name]}",
        f"{_title(name)}: {between:.0f} % of the square lies between 0.1 and 0.9."
        + (" One network, so there is no deviation to show." if name == KERAS else ""),
    )


def _deviation(name: str, values: np.ndarray, largest: float) -> Picture:
    return Picture(
        f"panel_{name}_deviation",
        figures.png(
            figures.heat_map(values, f"{_title(name)}: deviation", "deviation of P(label = 1)", largest)
        ),
        f"Heat map of the deviation of the probability over the square, {NAMES[name]}",
        f"{_title(name)}: {number(float(np.mean(values)), 4)} on average over the square. All maps of the row have the "
        "same colour scale.",
    )


def _title(name: str) -> str:
    return NAMES[name][0].upper() + NAMES[name][1:]


def table(run: ArticleRun) -> Table:
    """Put the four beside each other."""
    facts = metrics(run)
    columns = ["deviation", "near", "far"]
    header = ["", *(each.label for each in METRICS), "mean deviation", "near", "far"]
    if NUTS in run.sampled:
        columns += ["mean_map_distance", "deviation_ratio"]
        header += ["mean map off NUTS' by", "deviation / NUTS'"]
    rows = []
    for name, own in facts.items():
        scored = [number(own["scores"][each.key], each.digits) for each in METRICS]
        rows.append(
            (
                NAMES[name],
                *scored,
                *(number(own[key], 4) if key in own else "-" for key in columns),
                _spent(own),
            )
        )
    caption = (
        f"20,000 test rows and the mesh, seed {run.seeds[0]}. Deviations are of P(label = 1), over the whole square, "
        "near the parabola (within 0.1) and far from it (beyond 0.4)."
    )
    if NUTS in run.sampled:
        caption += (
            " Distance: mean absolute difference of the mean maps. Two sets of 1000 draws of one posterior are about "
            "0.002 apart."
        )
    return Table((*header, "sampling (s)"), tuple(rows), caption)


def _spent(own: Mapping[str, Any]) -> str:
    return number(own["seconds"], 1) if "seconds" in own else "-"


def metrics(run: ArticleRun) -> dict[str, dict[str, Any]]:
    """Gather the numbers of the panel."""
    scores = {KERAS: run.of(KERAS)[0].scores, MEAN_FIELD: run.of(DEFAULT)[0].scores}
    facts: dict[str, dict[str, Any]] = {KERAS: {"scores": dict(scores[KERAS])}}
    truth = run.sampled.get(NUTS)
    if truth is not None:
        facts[KERAS]["mean_map_distance"] = distance(run.keras.mesh, truth.mean)
    for name, (mean, std) in _of(run).items():
        near, far = near_and_far(std)
        sampled = run.sampled.get(name)
        own = {
            "scores": dict(scores[name] if sampled is None else sampled.scores),
            "deviation": float(np.mean(std)),
            "near": near,
            "far": far,
        }
        if sampled is not None:
            own |= {"seconds": sampled.seconds, "draws": sampled.draws, "said": sampled.said}
        if truth is not None and name != NUTS:
            own["mean_map_distance"] = distance(mean, truth.mean)
            own["deviation_ratio"] = own["deviation"] / float(np.mean(truth.std))
        facts[name] = own
    return facts


def _chains(run: ArticleRun) -> tuple[tuple[str, str], ...]:
    said = [
        (
            f"{_title(name)}:",
            ". ".join([f"{each.draws} draws, {each.said}", *map(_sentence, each.warnings)]) + ".",
        )
        for name, each in run.sampled.items()
    ]
    if NUTS not in run.sampled:
        said.append(
            (
                "NUTS:",
                "not run here, for it takes many minutes: scripts/make_reports article --nuts-draws 500.",
            )
        )
    return tuple(said)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
