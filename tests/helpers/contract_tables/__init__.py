"""The tables of the contract: one row per layer, guide, prior and likelihood.

Every check in ``tests/contract`` goes over all rows of the table that it is about, so a new member of a family is
tested by adding its row. ``test_tables.py`` fails for a public member without one. A key is the member's public name;
a second row of one member has a comma after the name and what is special about it.
"""

from .guides import GUIDES
from .layers import LAYERS
from .likelihoods import LIKELIHOODS
from .priors import PRIORS
from .problems import PROBLEMS, SITE_KINDS

__all__ = ["GUIDES", "LAYERS", "LIKELIHOODS", "PRIORS", "PROBLEMS", "SITE_KINDS"]
