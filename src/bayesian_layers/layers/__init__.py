"""Layers whose parameters have priors: drop-in twins of torch's, and the library's own.

A new family is one file here, and its names in ``__all__``: the package takes them from there, and so do saved files.
The file may hold three tables for saved files, of which most families need the first alone:

- ``ARGUMENTS``: what constructor arguments that are new must be, by name (``architecture.known`` has the others);
- ``READ``: how an argument is read off a module that does not keep it under its name, by name;
- ``MODULES``: of how many modules a layer is made, by class: a function of the constructor's arguments.

Device, dtype and keyword-only arguments whose name ends in ``prior`` are no business of theirs.
"""

from ._twin import A_MODULE as A_MODULE
from ._twin import NORMALISATION as NORMALISATION
from .flows import MADE, MAF, NeuralSpline, NoContext, RealNVP
from .linear import Linear

__all__ = ["MADE", "MAF", "Linear", "NeuralSpline", "NoContext", "RealNVP"]
