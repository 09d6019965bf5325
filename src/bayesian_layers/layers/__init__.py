"""Drop-in twins of torch.nn layers whose parameters have priors."""

from .flows import MADE, MAF, NeuralSpline, NoContext, RealNVP
from .linear import Linear

__all__ = ["MADE", "MAF", "Linear", "NeuralSpline", "NoContext", "RealNVP"]
