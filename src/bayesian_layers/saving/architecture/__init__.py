"""The description of a network in JSON's types, and the network built anew from it.

Only classes on a list are described and built: a file never decides what code runs.
"""

from .building import build, most_memory
from .describing import describe
from .parameters import apply_parameters, describe_parameters

__all__ = ["apply_parameters", "build", "describe", "describe_parameters", "most_memory"]
