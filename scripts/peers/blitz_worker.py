"""blitz: `BayesianLinear`, with the KL estimated from the log densities that each layer keeps of its last draw."""

import mnist
from blitz.losses import kl_divergence_from_nn
from blitz.modules import BayesianLinear
from protocol import serve


def mnist_step(request):
    """Time a minibatch step, in milliseconds."""
    return mnist.compare(request, BayesianLinear, kl_divergence_from_nn)


if __name__ == "__main__":
    serve({"mnist_step": mnist_step})
