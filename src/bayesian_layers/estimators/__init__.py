"""How the gradient of the expected log likelihood is estimated.

The choice changes the noise of a training step and nothing else: model, guide and posterior stay the same, and the
network is not changed. Weights that an estimator does not support are reparameterized in the plain way.
"""

from .base import Estimator, Reparameterization
from .choice import DEFAULT, NAMES, default, make
from .flipout import Flipout
from .local import Local

__all__ = ["DEFAULT", "NAMES", "Estimator", "Flipout", "Local", "Reparameterization", "default", "make"]
