"""Sentences about the article's results that follow from the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bayesian_layers.reporting.scores import (
    Comparison,
    Estimate,
    Metric,
    caveat,
    compare,
    describe_winners,
    estimate,
    number,
    outcome,
)

from .article_results import ArticleRun
from .methods import BAYESIAN, DEFAULT, KERAS, LABELS, OPTIMAL, TITLES, WIDE

METRICS = (
    Metric("accuracy", "accuracy", "higher"),
    Metric("nll", "NLL", "lower"),
    Metric("brier", "Brier score", "lower"),
    Metric("ece", "ECE", "lower"),
)
ELBO = Metric("elbo", "ELBO", "higher", digits=2)


def scores(run: ArticleRun, method: str, key: str) -> list[float]:
    """Return one score of a method under each seed."""
    return [each.scores[key] for each in run.of(method)]


def mean_over_seeds(run: ArticleRun, method: str, field: str) -> Estimate | None:
    """Average a field of ``MethodRun`` over the seeds."""
    values = [getattr(each, field) for each in run.of(method)]
    return None if None in values else estimate(values)


def comparisons(run: ArticleRun, ours: str, theirs: str = KERAS) -> list[Comparison]:
    """Compare two methods by all metrics, seed by seed."""
    return [compare(each, scores(run, ours, each.key), scores(run, theirs, each.key)) for each in METRICS]


def summary(run: ArticleRun) -> tuple[tuple[str, str], ...]:
    """Return the main results as headings and sentences."""
    against = [
        (
            f"Keras or {LABELS[method]}?",
            describe_winners(comparisons(run, method), TITLES[method], LABELS[KERAS]),
        )
        for method in BAYESIAN
    ]
    one_seed = caveat(len(run.seeds))
    return (
        *([("One seed.", one_seed)] if one_seed else []),
        *against,
        ("The prior's scale.", _prior_scale(run)),
        ("Tempering.", tempering(run)),
        ("Where it is unsure.", _near_far(run)),
        ("The best possible scores.", _optimal(run)),
    )


def tempering(run: ArticleRun) -> str:
    """Describe which of the fits are tempered, and how."""
    tempered = [method for method in BAYESIAN if run.bayes[method].tempered]
    full = [LABELS[method] for method in BAYESIAN if method not in tempered]
    sentences = [
        f"{TITLES[method]} is {run.bayes[method].tempering}. Its fit does not maximise the ELBO, in which the KL from "
        "the prior has weight 1, so its result is not the posterior under the prior that it names: "
        f"{_effect(run.bayes[method].kl_weight)}."
        for method in tempered
    ]
    return " ".join([*sentences, *([f"Not tempered: {'; '.join(full)}."] if full else [])])


def _effect(kl_weight: float | Mapping[str, float]) -> str:
    weights = kl_weight.values() if isinstance(kl_weight, Mapping) else [kl_weight]
    if max(weights) < 1:
        return "the prior counts for less, so the network is surer of its weights, as if there were more rows"
    if min(weights) > 1:
        return "the prior counts for more, so the network is less sure of its weights, as if there were fewer rows"
    return "the prior counts for more for some weights, and for less for others"


def _prior_scale(run: ArticleRun) -> str:
    elbos = [[each.elbo for each in run.of(method) if each.elbo is not None] for method in (WIDE, DEFAULT)]
    gain = estimate(ELBO.gain(*elbos))
    judged = outcome(gain)
    size = Estimate(abs(gain.mean), gain.error, gain.runs).text(2)
    wide, default = LABELS[WIDE], LABELS[DEFAULT]
    if judged == "unclear":
        preferred = f"The ELBO, which needs no test rows, does not tell the two apart ({size} nats)."
    else:
        chosen, other = (wide, default) if judged in ("better", "ahead") else (default, wide)
        preferred = f"The ELBO, which needs no test rows, prefers {chosen} to {other} by {size} nats."
    return f"{preferred} On the test rows: {describe_winners(comparisons(run, WIDE, DEFAULT), wide, default)}"


def _near_far(run: ArticleRun) -> str:
    parts = []
    for method in BAYESIAN:
        near, far = (_mean_or_nan(mean_over_seeds(run, method, name)) for name in ("near", "far"))
        parts.append(
            f"{LABELS[method]}: {number(near, 3)} near the parabola, {number(far, 4)} far from it, "
            f"{ratio(near, far)} times as much near it"
        )
    return (
        "Mean standard deviation of the probability over the posterior's draws, within a vertical distance of 0.1 from "
        f"the parabola and beyond 0.4. {'; '.join(parts)}. Keras predicts a probability without a standard deviation."
    )


def ratio(near: float, far: float) -> str:
    """Divide the standard deviation near the parabola by that far from it."""
    return number(near / far, 1) if far > 0 else number(float("inf"))


def _optimal(run: ArticleRun) -> str:
    parts = []
    for metric in METRICS[:2]:
        best = best_of(run, metric, (KERAS, *BAYESIAN))
        bound, reached = (float(np.mean(scores(run, method, metric.key))) for method in (OPTIMAL, best))
        parts.append(
            f"the best possible {metric.label} is {number(bound)} (for someone who knows the rule and the noise), and "
            f"{LABELS[best]} comes nearest with {number(reached)}"
        )
    return f"The labels are noisy, so no method can always be right: {'; '.join(parts)}."


def best_of(run: ArticleRun, metric: Metric, methods: Sequence[str]) -> str:
    """Return the method with the best mean."""
    return max(methods, key=lambda method: _goodness(metric, scores(run, method, metric.key)))


def _goodness(metric: Metric, values: Sequence[float]) -> float:
    return float(np.mean(metric.gain(values, [0.0] * len(values))))


def _mean_or_nan(value: Estimate | None) -> float:
    return float("nan") if value is None else value.mean
