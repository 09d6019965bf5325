"""The modules of a network in JSON's types, and the network built from this description.

Only classes on a list are described and built: a file never decides what code runs.
"""

from .building import MOST_MODULES, allocate, build, most_memory
from .describing import describe
from .known import MODULE_ARGUMENT, modules_in, register
from .trial import check_runs

__all__ = [
    "MODULE_ARGUMENT",
    "MOST_MODULES",
    "allocate",
    "build",
    "check_runs",
    "describe",
    "modules_in",
    "most_memory",
    "register",
]
