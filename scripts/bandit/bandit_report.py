"""The report of the bandit: a pure function of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesian_layers.lazy_imports import require
from bayesian_layers.reporting.figures import METHOD_COLOURS, png
from bayesian_layers.reporting.page import Gallery, Page, Picture, Points, Report, Section, Table
from bayesian_layers.reporting.provenance import footer, provenance_points
from bayesian_layers.reporting.scores import Estimate, estimate

from .agents import NAMES, Settings
from .playing import PULLS
from .problems import PROBLEMS
from .rounds import Problem

OURS, GREEDY = "thompson", "greedy"
COLOURS = dict(zip(NAMES, (*METHOD_COLOURS, "#666666"), strict=True))
STYLES = dict(zip(NAMES, ("-", "--", "-.", ":", (0, (1, 3))), strict=True))


@dataclass(frozen=True)
class BanditRun:
    """Everything that was played; mappings are by the name of an agent."""

    regret: Mapping[str, np.ndarray]  # in each round of each seed, (seeds, T)
    prizes: Mapping[str, np.ndarray]  # share of prizes taken in the second half, (seeds,)
    seconds: Mapping[str, float]  # CPU time of all seeds
    problem: Problem
    learnings: list[int]  # after how many rounds the agents learned
    settings: Settings
    provenance: Mapping[str, Any]

    @property
    def totals(self) -> dict[str, np.ndarray]:
        """Regret of all rounds of each seed, by agent, ``(seeds,)``."""
        return {name: each.sum(axis=1) for name, each in self.regret.items()}

    def gain(self, other: str) -> Estimate:
        """Estimate how much less our agent lost than another, seed by seed."""
        return estimate(self.totals[other] - self.totals[OURS])


def build_bandit_report(run: BanditRun) -> Report:
    """Build the report."""
    seeds, rounds = next(iter(run.regret.values())).shape
    lead = PROBLEMS[run.problem.name].lead.format(rounds=rounds, seeds=seeds)
    sections = (
        Section("Summary", (Points(summary(run)),)),
        Section("Regret", (Gallery(pictures(run)), table(run))),
        Section("What was played", (Points(rules(run)),)),
        Section("How this report was made", (Points(provenance_points(run.provenance)),)),
    )
    title = "Thompson sampling by functions of the posterior"
    return Page(title, lead, sections, footer(run.provenance)).report(metrics(run))


def summary(run: BanditRun) -> tuple[tuple[str, str], ...]:
    """Return the main results as headings and sentences."""
    if OURS not in run.regret:
        return ()
    others = (name for name in run.regret if name != OURS)
    return tuple((f"Against {NAMES[other]}:", _against(run, other)) for other in others)


def _against(run: BanditRun, other: str) -> str:
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


def rules(run: BanditRun) -> tuple[tuple[str, str], ...]:
    """Return the rules of the bandit and the settings of the agents as headings and sentences."""
    own = run.settings
    return (
        *PROBLEMS[run.problem.name].rules,
        (
            "Learning.",
            f"The actions of the first {PULLS * run.problem.actions} rounds are prescribed, in turn; then the agents "
            f"learn for the first time. They learn {len(run.learnings)} times in all, at the end every "
            f"{run.learnings[-1] - run.learnings[-2]} rounds.",
        ),
        (
            "The networks.",
            f"All use the same network: the context and the action as inputs, {own.hidden} rectified units, and the "
            f"reward, in units of {own.unit:g}, as output. Each time they resume from their last weights and their "
            f"last state of Adam, for {own.steps} steps on batches of {own.batch_size} rows (Keras: at least as "
            "many).",
        ),
        (
            "Ours.",
            f"The noise is Normal with standard deviation {own.noise_scale}. The weights of the output layer have the "
            f"prior N(0, {own.output_scale:g}²) and a guide of full covariance, with an initial standard deviation of "
            f"{own.init_scale}; the hidden layer is a point estimate. Each step uses {2 * own.pairs} draws of the "
            f"weights; Adam's learning rate is {own.guide_rate} for the guide and {own.hidden_rate} for the hidden "
            "layer. Each round has its own function: function i of posterior.functions(rounds, seed) for round i.",
        ),
        (
            "Keras.",
            f"Mean squared error and Adam at {own.learning_rate}. It takes the action with the larger output; the "
            f"epsilon-greedy agent takes a random action with probability {own.epsilon}.",
        ),
        (
            "Exact.",
            f"A linear regression per action with known noise {own.noise_scale} and prior N(0, {own.linear_scale}²): "
            "the posterior is in closed form, and each round has its own draw.",
        ),
        ("Choice of settings.", PROBLEMS[run.problem.name].choice),
    )


def table(run: BanditRun) -> Table:
    """Return the table of the totals."""
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
        "per round, late",
        run.problem.prizes,
        "CPU s",
    )
    caption = (
        "Regret of all rounds with its median and range over the seeds, paired difference to ours, regret per round "
        f"and share of {run.problem.prizes} in the second half, CPU time of all seeds. Means over the seeds ± "
        "standard errors."
    )
    return Table(header, rows, caption)


def _percent(shares: np.ndarray) -> str:
    known = shares[~np.isnan(shares)]  # there is no prize in some short runs
    return f"{100 * known.mean():.0f} %" if len(known) else "-"


def pictures(run: BanditRun) -> tuple[Picture, ...]:
    """Draw the regret of each agent, and its difference to ours."""
    sums = {name: each.cumsum(axis=1) for name, each in run.regret.items()}
    shown = max((each[:, -1].max() for name, each in sums.items() if name != "uniform"), default=1.0)
    first = _curves(sums, "Regret so far", top=1.05 * shown if len(sums) > 1 else None)
    band = "Lines show the median over the seeds, bands the whole range."
    found = [Picture("regret", first, "Cumulative regret of each agent over the rounds, with bands.",
                     f"{band} The curve of uniform choice may leave the picture at the top.")]  # fmt: skip
    if OURS in sums:
        more = {name: each - sums[OURS] for name, each in sums.items() if name not in (OURS, "uniform")}
        second = _curves(more, "Regret so far, minus ours in the same seed", level=0.0)
        found.append(Picture("difference", second, "Paired difference of cumulative regret to ours, with bands.",
                             f"Above 0, ours has lost less. {band}"))  # fmt: skip
    return tuple(found)


def _curves(
    values: Mapping[str, np.ndarray], title: str, top: float | None = None, level: float | None = None
) -> bytes:
    figure = require("matplotlib.figure", "matplotlib", "report").Figure(figsize=(5, 5), layout="constrained")
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


def metrics(run: BanditRun) -> dict[str, Any]:
    """Return every number of a run."""
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
