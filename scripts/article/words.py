"""What the article's numbers say, in sentences that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bayesian_layers.reporting.scores import (
    Duel,
    Estimate,
    Metric,
    caveat,
    duel,
    estimate,
    number,
    outcome,
    verdict,
)

from .methods import BAYESIAN, DEFAULT, KERAS, LABELS, LIMIT, TITLES, WIDE
from .results import ArticleRun

METRICS = (
    Metric("accuracy", "accuracy", "higher"),
    Metric("nll", "NLL", "lower"),
    Metric("brier", "Brier score", "lower"),
    Metric("ece", "ECE", "lower"),
)
ELBO = Metric("elbo", "ELBO", "higher", digits=2)


def scores(run: ArticleRun, method: str, key: str) -> list[float]:
    """Gather a score."""
    return [each.scores[key] for each in run.of(method)]


def field(run: ArticleRun, method: str, name: str) -> Estimate | None:
    """Average a fact about the fits over the seeds."""
    values = [getattr(each, name) for each in run.of(method)]
    return None if None in values else estimate(values)


def duels(run: ArticleRun, ours: str, theirs: str = KERAS) -> list[Duel]:
    """Compare two methods by all metrics, seed by seed."""
    return [duel(each, scores(run, ours, each.key), scores(run, theirs, each.key)) for each in METRICS]


def in_short(run: ArticleRun) -> tuple[tuple[str, str], ...]:
    """Say what came out."""
    against = [
        (
            f"Keras or {LABELS[method]}?",
            verdict(duels(run, method), TITLES[method], LABELS[KERAS]),
        )
        for method in BAYESIAN
    ]
    alone = caveat(len(run.seeds))
    return (
        *([("One seed.", alone)] if alone else []),
        *against,
        ("The prior's scale.", _prior_scale(run)),
        ("Tempering.", tempering(run)),
        ("Where it does not know.", _near_far(run)),
        ("The limit.", _limit(run)),
    )


def tempering(run: ArticleRun) -> str:
    """Say which of the fits are tempered, and how."""
    tempered = [method for method in BAYESIAN if run.bayes[method].tempered]
    plain = [LABELS[method] for method in BAYESIAN if method not in tempered]
    said = [
        f"{TITLES[method]} is {run.bayes[method].tempering}. Its fit does not maximise the ELBO, which counts the KL "
        "from the prior with weight 1, so what it finds is not the posterior of the prior that it names: "
        f"{_effect(run.bayes[method].kl_weight)}."
        for method in tempered
    ]
    return " ".join([*said, *([f"Not tempered: {'; '.join(plain)}."] if plain else [])])


def _effect(kl_weight: float | Mapping[str, float]) -> str:
    weights = kl_weight.values() if isinstance(kl_weight, Mapping) else [kl_weight]
    if max(weights) < 1:
        return (
            "the prior counts for less, and the network is surer of its weights, as if there were more rows"
        )
    if min(weights) > 1:
        return "the prior counts for more, and the network is less sure of its weights, as if there were fewer rows"
    return "for some weights the prior counts for more, for others for less"


def _prior_scale(run: ArticleRun) -> str:
    elbos = [[each.elbo for each in run.of(method) if each.elbo is not None] for method in (WIDE, DEFAULT)]
    gain = estimate(ELBO.gain(*elbos))
    judged = outcome(gain)
    size = Estimate(abs(gain.mean), gain.error, gain.runs).text(2)
    names = {"wide": LABELS[WIDE], "default": LABELS[DEFAULT]}
    if judged == "unclear":
        preferred = f"The ELBO, which needs no test rows, does not tell the two apart ({size} nats)."
    else:
        chosen, other = ("wide", "default") if judged in ("better", "ahead") else ("default", "wide")
        preferred = (
            f"The ELBO, which needs no test rows, prefers {names[chosen]} to {names[other]} by {size} nats."
        )
    return (
        f"{preferred} On the test rows: {verdict(duels(run, WIDE, DEFAULT), names['wide'], names['default'])}"
    )


def _near_far(run: ArticleRun) -> str:
    parts = []
    for method in BAYESIAN:
        near, far = (_present(field(run, method, name)) for name in ("near", "far"))
        parts.append(
            f"{LABELS[method]}: {number(near, 3)} near the boundary, {number(far, 4)} far from it, "
            f"{ratio(near, far)} times as much"
        )
    return (
        "Mean deviation of the probability over the posterior's draws, within 0.1 of the parabola and beyond 0.4 "
        f"(vertically): {'; '.join(parts)}. Keras gives one probability and no deviation."
    )


def ratio(near: float, far: float) -> str:
    """Divide the deviation near the parabola by that far from it."""
    return number(near / far, 1) if far > 0 else number(float("inf"))


def _limit(run: ArticleRun) -> str:
    said = []
    for metric in METRICS[:2]:
        best = best_of(run, metric, (KERAS, *BAYESIAN))
        bound, reached = (float(np.mean(scores(run, method, metric.key))) for method in (LIMIT, best))
        said.append(
            f"{metric.label} {number(bound)} for someone who knows the rule and the noise; {LABELS[best]} comes "
            f"nearest with {number(reached)}"
        )
    return f"The labels are noisy, so no method can be right always: {'; '.join(said)}."


def best_of(run: ArticleRun, metric: Metric, methods: Sequence[str]) -> str:
    """Find the method with the best mean."""
    return max(methods, key=lambda method: _goodness(metric, scores(run, method, metric.key)))


def _goodness(metric: Metric, values: Sequence[float]) -> float:
    return float(np.mean(metric.gain(values, [0.0] * len(values))))


def _present(value: Estimate | None) -> float:
    return float("nan") if value is None else value.mean
