#!/usr/bin/env python3
"""Thompson sampling by posterior functions against a Keras network, on a contextual bandit.

Ours draws one function of its posterior for each round; the Keras network with the same layers takes the action with
the largest prediction. An exact linear model and random choice are compared too. Writes index.html, pictures and
metrics.json.

The wheel (the default) is simulated, and an agent that does not explore misses its prizes. --problem mushroom plays
with mushrooms, to eat or to leave, whose table is downloaded by pip. The committed pages are reports/bandit/ and
reports/bandit_mushroom/. See scripts/bandit/.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from _environment import ROOT, ensure

os.environ["KERAS_BACKEND"] = "torch"  # before anything imports Keras
ensure("keras", "report")

import numpy as np
import torch

from bandit.agents import AGENTS, NAMES, Settings
from bandit.bandit_report import BanditRun, build_bandit_report, summary
from bandit.playing import learning_rounds, play
from bandit.problems import PROBLEMS, find_problem, settings_of
from bandit.rounds import Problem
from bayesian_layers.errors import BayesianLayersError
from bayesian_layers.reporting import check_report_folder, write_report
from bayesian_layers.reporting.provenance import provenance

FIRST_SEED = 100  # the settings were chosen on the seeds below
REPORTS = {"wheel": "bandit", "mushroom": "bandit_mushroom"}


def play_all(
    problem: Problem, settings: Settings, names: list[str], seeds: range, number: int, at: list[int]
) -> dict[str, Any]:
    """Play every seed with every agent, and return regret, prizes and seconds as ``BanditRun`` has them."""
    regret = {name: np.zeros((len(seeds), number)) for name in names}
    prizes = {name: np.zeros(len(seeds)) for name in names}
    seconds = dict.fromkeys(names, 0.0)
    for row, seed in enumerate(seeds):
        rounds = problem.draw(number, seed)
        for name in names:
            start = time.process_time()
            actions = play(AGENTS[name](problem, settings, seed), rounds, at)
            seconds[name] += time.process_time() - start
            regret[name][row] = rounds.regret(actions)
            prizes[name][row] = rounds.prizes_taken(actions)
        lost = ", ".join(f"{NAMES[name]} {regret[name][row].sum():.0f}" for name in names)
        print(f"seed {seed}: {lost}", file=sys.stderr, flush=True)
    return {"regret": regret, "prizes": prizes, "seconds": seconds}


def main(arguments: list[str] | None = None) -> int:
    """Play, write the report, and return the exit status."""
    options = _parser().parse_args(arguments)
    command = " ".join(["scripts/compare_bandit.py", *(sys.argv[1:] if arguments is None else arguments)])
    torch.set_num_threads(1)
    try:
        out = options.out or ROOT / "reports" / REPORTS[options.problem]
        check_report_folder(out)
        problem = find_problem(options.problem, options.table)
        settings = settings_of(problem)
        if options.steps is not None:
            settings = replace(settings, steps=options.steps)
        at = learning_rounds(options.rounds, options.every, problem.actions)
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        played = play_all(problem, settings, options.agents, seeds, options.rounds, at)
        record = provenance(list(seeds), dict(problem.sha256), command)
        run = BanditRun(**played, problem=problem, learnings=at, settings=settings, provenance=record)
        print(write_report(out, *build_bandit_report(run)))
    except (BayesianLayersError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for heading, sentence in summary(run):
        print(heading, sentence)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = list(AGENTS)
    parser.add_argument(
        "--agents", nargs="+", choices=names, default=names, metavar="AGENT", help=", ".join(names)
    )
    parser.add_argument("--problem", choices=list(PROBLEMS), default="wheel")
    parser.add_argument("--rounds", type=int, default=3000, help="number of rounds (%(default)s)")
    parser.add_argument(
        "--every",
        type=int,
        default=100,
        help="largest number of rounds between two times of learning (%(default)s)",
    )
    parser.add_argument(
        "--steps", type=int, help="steps of Adam each time the agents learn (default: chosen for the bandit)"
    )
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds (%(default)s)")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="first seed (%(default)s)")
    parser.add_argument("--table", type=Path, help="for mushroom: another file in KEEL's format")
    parser.add_argument(
        "--out", type=Path, help="folder of the report (default: reports/bandit or reports/bandit_mushroom)"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
