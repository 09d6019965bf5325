"""Predictions of new rows: moments in bounded memory, draws, and the functions of ``bl.predictive``."""

from .inputs import Rows
from .moments import check_likelihood, predict, predict_blocks, write_predictions
from .plan import MAX_MEMORY
from .predictive_draws import PredictiveDraws, draw_outputs, over_draws
from .weight_draws import WeightDraws

__all__ = [
    "MAX_MEMORY",
    "PredictiveDraws",
    "Rows",
    "WeightDraws",
    "check_likelihood",
    "draw_outputs",
    "over_draws",
    "predict",
    "predict_blocks",
    "write_predictions",
]
