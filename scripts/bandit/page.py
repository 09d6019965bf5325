"""The report of the bandit: a pure function of its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesian_layers.reporting.extras import require
from bayesian_layers.reporting.figures import METHOD_COLOURS, png
from bayesian_layers.reporting.page import Gallery, Page, Picture, Points, Report, Section, Table, render
from bayesian_layers.reporting.provenance import as_points
from bayesian_layers.reporting.scores import Estimate, estimate

from .agents import NAMES, Settings
from .playing import PULLS
from .problems import PROBLEMS
from .rounds import Problem

OURS, GREEDY = "thompson", "greedy"
COLOURS = dict(zip(NAMES, (*METHOD_COLOURS, "#666666"), strict=True))
STYLES = dict(zip(NAMES, ("-", "--", "-.", ":", (0, (1, 3))), strict=True))


@dataclass(frozen=True)
class Outcome:
    """All that was played.

    Attributes:
        regret: Name of an agent to its regret in each round of each seed, ``(seeds, T)``.
        prizes: Name to the share of prizes that it took in the second half, ``(seeds,)``.
        seconds: Name to CPU seconds, all seeds together.
        problem: The bandit.
        learnings: After how many rounds the agents learned.
        settings: What the agents had.
        provenance: Seeds, hash, versions, command, date.
    """

    regret: Mapping[str, np.ndarray]
    prizes: Mapping[str, np.ndarray]
    seconds: Mapping[str, float]
    problem: Problem
    learnings: list[int]
    settings: Settings
    provenance: Mapping[str, Any]

    @property
    def totals(self) -> dict[str, np.ndarray]:
        """Regret of all rounds of each seed, by agent, ``(seeds,)``."""
        return {name: each.sum(axis=1) for name, each in self.regret.items()}

    def gain(self, other: str) -> Estimate:
        """Say what ours lost less than another, seed by seed.

        Args:
            other: The other agent.

        Returns:
            Mean and standard error of the paired difference.
        """
        return estimate(self.totals[other] - self.totals[OURS])


def report(run: Outcome) -> Report:
    """Lay the numbers out.

    Args:
        run: What was played.

    Returns:
        Page, pictures and numbers, for ``write_report``.
    """
    seeds, rounds = next(iter(run.regret.values())).shape
    lead = PROBLEMS[run.problem.name].lead.format(rounds=rounds, seeds=seeds)
    sections = (
        Section("In short", (Points(in_short(run)),)),
        Section("Regret", (Gallery(pictures(run)), table(run))),
        Section("What was played", (Points(rules(run)),)),
        Section("How this was made", (Points(as_points(run.provenance)),)),
    )
    version = run.provenance["versions"].get("bayesian-layers", "")
    footer = (
        f"Made by bayesian-layers {version} on {run.provenance['date']}. The numbers are in metrics.json."
    )
    page = Page("Thompson sampling by functions of the posterior", lead, sections, footer)
    return Report(render(page), page.pictures(), metrics(run))


def in_short(run: Outcome) -> tuple[tuple[str, str], ...]:
    """Say how it ended.

    Args:
        run: What was played.

    Returns:
        Headings and sentences.
    """
    if OURS not in run.regret:
        return ()
    others = (name for name in run.regret if name != OURS)
    return tuple((f"Against {NAMES[other]}:", _verdict(run, other)) for other in others)


def _verdict(run: Outcome, other: str) -> str:
    gain = run.gain(other)
    error = 0.0 if gain.error is None else gain.error
    word = "less" if gain.mean > 0 else "more"
    amount = f"{abs(gain.mean):.0f} ± {error:.0f} {word}" if gain.runs > 1 else f"{abs(gain.mean):.0f} {word}"
    clear = gain.error is not None and abs(gain.mean) > 2 * gain.error
    less = int((run.totals[other] > run.totals[OURS]).sum())
    return (
        f"Thompson sampling by our functions lost {amount} (mean of the paired differences and its standard error), "
        f"{'a clear difference' if clear else 'no clear difference'}; it lost less in {less} of {gain.runs} seeds."
    )


def rules(run: Outcome) -> tuple[tuple[str, str], ...]:
    """Say what the agents were given.

    Args:
        run: What was played.

    Returns:
        Headings and sentences.
    """
    own = run.settings
    return (
        *PROBLEMS[run.problem.name].rules,
        (
            "Learning.",
            f"After the first {PULLS * run.problem.actions} rounds, whose actions are prescribed in turn, and at "
            f"{len(run.learnings)} rounds in all, {run.learnings[-1] - run.learnings[-2]} apart at the end; in "
            "between nobody learns.",
        ),
        (
            "The networks.",
            f"One and the same: context and action in, {own.hidden} rectified units, the reward out, in units "
            f"of {own.unit:g}. Both go on from their last weights and their last state of Adam, with {own.steps} "
            f"steps each time on batches of {own.batch_size} rows (Keras at least as many).",
        ),
        (
            "Ours.",
            f"Normal noise of deviation {own.noise_scale}, and a prior N(0, {own.output_scale:g}²) on the weights of "
            f"the output layer, with a guide of full covariance that begins at deviation {own.init_scale}; the hidden "
            f"layer is a point estimate. {2 * own.pairs} draws of the weights a step, Adam at {own.guide_rate} for the "
            f"guide and at {own.hidden_rate} for the hidden layer. Each round is decided by a function of its own: "
            "function i of posterior.functions(rounds, seed) for round i.",
        ),
        (
            "Keras.",
            f"Mean squared error, Adam at {own.learning_rate}; the action of the larger output, or, for the "
            f"second one, with probability {own.epsilon} any.",
        ),
        (
            "Exact.",
            f"Per action a linear regression with known noise {own.noise_scale} and prior "
            f"N(0, {own.linear_scale}²), posterior in closed form, a draw each round.",
        ),
        ("Choice of settings.", PROBLEMS[run.problem.name].choice),
    )


def table(run: Outcome) -> Table:
    """Lay out the totals.

    Args:
        run: What was played.

    Returns:
        One row an agent.
    """
    rows = tuple(
        (
            NAMES[name],
            estimate(total).text(0),
            f"{np.median(total):.0f}",
            f"{total.min():.0f} to {total.max():.0f}",
            "" if name == OURS or OURS not in run.regret else run.gain(name).text(0, sign=True),
            estimate(run.regret[name][:, each.shape[1] // 2 :].mean(axis=1)).text(2),
            _percent(run.prizes[name]),
            f"{run.seconds[name]:.0f}",
        )
        for (name, total), each in zip(run.totals.items(), run.regret.values(), strict=True)
    )
    header = (
        "agent",
        "regret",
        "median",
        "range",
        "more than ours",
        "a round, late",
        run.problem.prizes,
        "CPU s",
    )
    caption = (
        "Regret of all rounds, median and range over the seeds, paired difference to ours, regret a round and share of "
        f"{run.problem.prizes} in the second half, time of all seeds. Means over the seeds ± their standard errors."
    )
    return Table(header, rows, caption)


def _percent(shares: np.ndarray) -> str:
    known = shares[~np.isnan(shares)]  # few rounds may have had no prize
    return f"{100 * known.mean():.0f} %" if len(known) else "-"


def pictures(run: Outcome) -> tuple[Picture, ...]:
    """Draw the curves.

    Args:
        run: What was played.

    Returns:
        Regret of each agent, and what each lost more than ours.
    """
    sums = {name: each.cumsum(axis=1) for name, each in run.regret.items()}
    shown = max((each[:, -1].max() for name, each in sums.items() if name != "uniform"), default=1.0)
    first = _curves(sums, "Regret so far", top=1.05 * shown if len(sums) > 1 else None)
    band = "Lines are medians over the seeds, bands the whole range."
    found = [Picture("regret", first, "Cumulative regret of each agent over the rounds, with bands.",
                     f"{band} Uniform choice may leave the picture at the top.")]  # fmt: skip
    if OURS in sums:
        more = {name: each - sums[OURS] for name, each in sums.items() if name not in (OURS, "uniform")}
        second = _curves(more, "Regret so far, less that of ours in the same seed", level=0.0)
        found.append(Picture("difference", second, "Paired difference of cumulative regret to ours, with bands.",
                             f"Above 0 ours has lost less. {band}"))  # fmt: skip
    return tuple(found)


def _curves(
    values: Mapping[str, np.ndarray], title: str, top: float | None = None, level: float | None = None
) -> bytes:
    figure = require("matplotlib.figure", "matplotlib").Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    for name, each in values.items():
        at = np.arange(1, each.shape[1] + 1)
        axes.plot(
            at, np.median(each, axis=0), color=COLOURS[name], ls=STYLES[name], lw=1.8, label=NAMES[name]
        )
        axes.fill_between(at, each.min(axis=0), each.max(axis=0), color=COLOURS[name], alpha=0.13, lw=0)
    if level is not None:
        axes.axhline(level, color="black", lw=0.8)
    axes.set_title(title, fontsize=11)
    axes.set(
        xlabel="round",
        ylabel="expected reward lost",
        xlim=(0, None),
        ylim=(None if level is not None else 0, top),
    )
    axes.grid(alpha=0.3)
    axes.legend(framealpha=0.9, edgecolor="none", fontsize=9, loc="upper left")
    return png(figure)


def metrics(run: Outcome) -> dict[str, Any]:
    """Gather the numbers.

    Args:
        run: What was played.

    Returns:
        JSON's types.
    """
    gains = {other: vars(run.gain(other)) for other in run.regret if OURS in run.regret and other != OURS}
    return {
        "problem": run.problem.name,
        "provenance": dict(run.provenance),
        "settings": vars(run.settings),
        "learnings": run.learnings,
        "regret": run.totals,
        "ours_lost_less_by": gains,
        f"{run.problem.prizes.replace(' ', '_')}_second_half": dict(run.prizes),
        "cpu_seconds": dict(run.seconds),
    }
