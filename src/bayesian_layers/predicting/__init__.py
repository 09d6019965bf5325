"""What a posterior says of new rows: moments in bounded memory, whole draws, and functions of them."""

from .draws import PredictiveDraws, draws, over_draws
from .inputs import Rows
from .plan import MAX_MEMORY
from .predict import predict, predictions, write
from .weights import Weights

__all__ = [
    "MAX_MEMORY",
    "PredictiveDraws",
    "Rows",
    "Weights",
    "draws",
    "over_draws",
    "predict",
    "predictions",
    "write",
]
