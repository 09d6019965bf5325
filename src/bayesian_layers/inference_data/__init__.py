"""Arrays to ArviZ: a container of draws, the table that summarizes them, and PSIS-LOO.

ArviZ 0.23 (Python 3.11) and 1.x (Python 3.12 and later) differ in how a container is built, in the default interval, in
the names of the table's columns and in their functions for importance weights. Only this package handles the
differences; its results have the same variables and the same numbers with both. It imports only numpy and, on first
use, ArviZ, so that it can be tested without torch; its errors are ValueErrors for the same reason.
"""

from .containers import from_arrays
from .leave_one_out import Loo, psis_loo
from .pareto import pareto_k_hat, smooth
from .summaries import entry_names, summarize

__all__ = ["Loo", "entry_names", "from_arrays", "pareto_k_hat", "psis_loo", "smooth", "summarize"]
