"""Drop-in twins of torch.nn layers whose parameters have priors."""

from .linear import Linear

__all__ = ["Linear"]
