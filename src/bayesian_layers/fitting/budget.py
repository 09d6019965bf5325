"""How many draws and rows an evaluation takes, so that all evaluations of a fit take a fifth of its work at most."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from .data.batches import Batches
from .schedule import Schedule

SHARE = 0.2  # of the work of the steps
# Sets of independent draws, whose spread is the error. Fewer than _FEWER are not compared between stages.
SETS, _FEWER, _FEWEST = 16, 8, 4
_MIN_DRAWS, _MAX_DRAWS = 2, 256  # per set
_MAX_DRAWS_BY_ROWS = 64  # where rows have their own noise
# More than 4 draws per set on all rows are taken within these bounds on one evaluation.
_FORWARD_PASSES = 2**23  # rows x draws
_WORK = 2**31  # multiplications
NUMBERS = 2**24  # draws x size: 64 MiB in float32
BLOCK = 2**22  # draws x size that are made together
_MIN_ROWS = 16  # per set
_ROW_BYTES = 2**26  # of rows that are kept for all evaluations
# Costs in multiplications of a matrix product, about 0.05 ns each on one core, measured with torch 2.13. They are
# counted rather than timed, so that the same seed gives the same numbers, also in a fit that was resumed.
_FIT = 2**31  # before its first step: checks, traces and recordings
_STEP = 2**22  # whatever its size
_EVALUATION = 2**25  # likewise
_CALL = 2**25  # of the model in an evaluation: one for all draws if they see the same rows
_STEP_PARAMETER = 100  # a trained number of the guide in a step: its update, its part of the KL and the draws
_DRAW_NUMBER = 256  # a number of the noise of one draw in an evaluation
_NUMBER = 64  # a number that a row has in a layer
_PASSES = 3  # a forward and a backward pass, over a forward pass


@dataclass(frozen=True)
class Costs:
    """What the parts of a fit cost, in multiplications."""

    row: int  # multiplications of one row under one draw
    numbers: int  # numbers of all its activations
    size: int  # numbers of the noise of one draw
    parameters: int  # trained numbers of the guide
    by_rows: bool = False  # whether rows have their own noise, so that k-hat takes whole draws in addition

    def step(self, rows: int, particles: int) -> int:
        """Return the cost of a step."""
        return _STEP + _STEP_PARAMETER * self.parameters + _PASSES * particles * rows * self._row

    def evaluation(self, sets: int, draws: int, rows: int, *, calls: int, passes: int = 1) -> int:
        """Return the cost of an evaluation of sets of draws, each on so many rows, in a number of calls."""
        # The draws are made again for each pass over them.
        each = rows * self._row * (2 if self.by_rows else 1) + passes * _DRAW_NUMBER * self.size
        return _EVALUATION + calls * _CALL + _STEP_PARAMETER * self.parameters + sets * draws * each

    @property
    def _row(self) -> int:
        return self.row + _NUMBER * self.numbers


@dataclass(frozen=True)
class EvaluationPlan:
    """The size of each evaluation of a fit."""

    sets: int
    draws: int  # per set
    rows: int | None = None  # per set, drawn anew for each set; None for all rows
    each_stage: bool = True  # or once, at the end


@dataclass(frozen=True)
class Rows:
    """The rows that an evaluation may see."""

    given: int  # rows of a pass over the data
    batches: int  # parts in which they come
    most: int  # rows that fit into memory

    @classmethod
    def of(cls, batches: Batches) -> Rows:
        """Look at the first batch of a pass."""
        first = next(batches.once())
        parts = (*(first.x if isinstance(first.x, tuple) else (first.x,)), first.y)
        row_bytes = sum(part.numel() * part.element_size() for part in parts) / len(first.y)
        given = min(batches.num_data, batches.batch_rows * batches.num_batches)
        return cls(given, math.ceil(given / len(first.y)), max(1, int(_ROW_BYTES / max(row_bytes, 1))))


def plan_evaluations(
    costs: Costs, schedule: Schedule, batch_rows: int, rows: Rows, multiple: int = 1
) -> EvaluationPlan:
    """Choose the largest evaluations that all together cost a share of the fit's steps."""
    step, ends = costs.step(batch_rows, schedule.particles), list(_stage_ends(schedule))
    # All evaluations up to the end of any stage may cost a share of all work up to there.
    each = min(SHARE * (_FIT + step * end) / number for number, end in enumerate(ends, 1))
    for sets, draws in _on_all_rows(costs, rows, multiple):
        blocks = max(1, math.ceil(sets * draws * costs.size / BLOCK))
        passes = 1 if blocks == 1 else rows.batches
        if costs.evaluation(sets, draws, rows.given, calls=blocks * rows.batches, passes=passes) <= each:
            return EvaluationPlan(sets, draws)
    return _on_parts(costs, rows, _rounded(_MIN_DRAWS, multiple), each, SHARE * (_FIT + step * ends[-1]))


def _stage_ends(schedule: Schedule) -> Iterator[int]:
    end = 0
    while end < schedule.max_steps:
        end = schedule.stage(end)[1]
        yield end


def _on_all_rows(costs: Costs, rows: Rows, multiple: int) -> Iterator[tuple[int, int]]:
    """List sets and draws from the most to the fewest: fewer draws rather than fewer rows, whose error is larger."""
    work = rows.given * max(costs.row, costs.size, 1)
    bounds = _FORWARD_PASSES // rows.given, _WORK // work, NUMBERS // max(costs.size, 1)
    affordable = min(bounds) // SETS if costs.size else 0  # without noise all draws are equal
    draws = max(2 * _MIN_DRAWS, min(_MAX_DRAWS, 2 ** int(math.log2(max(affordable, 1)))))
    if costs.by_rows:
        draws = min(draws, _MAX_DRAWS_BY_ROWS)
    while draws >= _MIN_DRAWS:
        yield SETS, _rounded(draws, multiple)
        draws //= 2
    yield _FEWER, _rounded(_MIN_DRAWS, multiple)


def _on_parts(costs: Costs, rows: Rows, draws: int, each: float, once: float) -> EvaluationPlan:
    """Choose the rows per set: for an evaluation at each stage if its share allows, else for one at the end."""
    for sets, share, each_stage in ((SETS, each, True), (_FEWER, each, True), (_FEWER, once, False)):
        number = _rows(costs, sets, draws, share, rows)
        if number >= min(_MIN_ROWS, rows.given):
            return EvaluationPlan(sets, draws, number, each_stage)
    return EvaluationPlan(_FEWEST, draws, min(_MIN_ROWS, rows.given), each_stage=False)


def _rows(costs: Costs, sets: int, draws: int, share: float, rows: Rows) -> int:
    """Return the number of rows per set that a share of the work allows, each set in a call of its own."""
    fixed = costs.evaluation(sets, draws, 0, calls=sets)
    each = costs.evaluation(sets, draws, 1, calls=sets) - fixed
    return min(int(max(share - fixed, 0) / max(each, 1)), rows.given, max(_MIN_ROWS, rows.most // sets))


def _rounded(draws: int, multiple: int) -> int:
    return math.ceil(draws / multiple) * multiple
