"""Where the draws of a posterior come from: a guide, stored draws, or one of these pruned."""

from .base import DrawSource, check_all, from_stored
from .pruned import Pruned, prunable
from .stored_draws import StoredDraws

__all__ = ["DrawSource", "Pruned", "StoredDraws", "check_all", "from_stored", "prunable"]
