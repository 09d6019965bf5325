"""torchbnn: `BayesLinear` and `BKLLoss`."""

import mnist
import torchbnn
from protocol import serve


def linear(inputs, outputs):
    """Build a layer with the prior N(0, 1)."""
    return torchbnn.BayesLinear(prior_mu=0, prior_sigma=1, in_features=inputs, out_features=outputs)


def mnist_step(request):
    """Time a minibatch step, in milliseconds."""
    return mnist.compare(request, linear, torchbnn.BKLLoss(reduction="sum"))


if __name__ == "__main__":
    serve({"mnist_step": mnist_step})
