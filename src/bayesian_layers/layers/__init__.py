"""Layers whose parameters have priors: drop-in twins of torch's, and the library's own.

A new layer is one file here, and its name in ``__all__``: the package takes it from there, and so do saved files.
Where an estimator can treat it row by row, it has a rule there (see ``estimators.operations``).
The file may hold three tables for saved files, of which most families need the first alone:

- ``ARGUMENTS``: what constructor arguments that are new must be, by name (others are in ``saving.architecture``);
- ``READ``: how an argument is read off a module that does not keep it under its name, by name;
- ``MODULES``: of how many modules a layer is made, by class: a function of the constructor's arguments.

Device, dtype and keyword-only arguments whose name ends in ``prior`` are no business of theirs.
"""

from ..saving.architecture import register
from .activation import PReLU
from .adapters import SelfAttention, Take
from .attention import MultiheadAttention, TransformerEncoderLayer
from .base import NORMALISATION as NORMALISATION
from .cells import GRUCell, LSTMCell, RNNCell
from .convolution import Conv1d, Conv2d, Conv3d
from .embedding import Embedding
from .embedding import check_embeddings as check_embeddings
from .embedding import padding_rows as padding_rows
from .flows import MADE, MAF, NeuralSpline, NoContext, RealNVP
from .gaussian_process import GaussianProcess
from .linear import Bilinear, Linear
from .normalisation import BatchNorm1d, BatchNorm2d, BatchNorm3d, GroupNorm, LayerNorm
from .recurrent import GRU, LSTM, RNN
from .rms_norm import RMSNorm
from .transposed_convolution import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d

__all__ = [
    "GRU",
    "LSTM",
    "MADE",
    "MAF",
    "RNN",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bilinear",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Embedding",
    "GRUCell",
    "GaussianProcess",
    "GroupNorm",
    "LSTMCell",
    "LayerNorm",
    "Linear",
    "MultiheadAttention",
    "NeuralSpline",
    "NoContext",
    "PReLU",
    "RMSNorm",
    "RNNCell",
    "RealNVP",
    "SelfAttention",
    "Take",
    "TransformerEncoderLayer",
]

for _name in __all__:
    register(globals()[_name])  # files may describe it
