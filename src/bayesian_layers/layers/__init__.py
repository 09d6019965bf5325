"""Drop-in twins of torch.nn layers whose parameters have priors."""

from .flows import MADE, MAF, NeuralSpline, RealNVP
from .linear import Linear

__all__ = ["MADE", "MAF", "Linear", "NeuralSpline", "RealNVP"]
