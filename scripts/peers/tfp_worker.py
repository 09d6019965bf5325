"""TensorFlow Probability: `DenseReparameterization`, with the whole loop as one compiled function."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from protocol import clock, serve, since, step_ms

# Steps, initial learning rate; the rate decays to zero along half a cosine. A call of the layer draws one kernel, so a
# step has one particle.
RECIPES = {
    "1 particle, 5000 steps": (5000, 0.05),
    "1 particle, 10000 steps": (10_000, 0.05),
}


def prepare(request, optimizer):
    """Build the article's network, N(0, 1) on all its weights and biases, and a function that takes steps."""
    tf.random.set_seed(request["seed"])
    with np.load(request["data"]) as arrays:
        x, y = tf.constant(arrays["x"]), tf.constant(arrays["y"])[:, None]
    start = clock()

    def prior(dtype, shape, *_):
        return tfp.distributions.Independent(
            tfp.distributions.Normal(tf.zeros(shape, dtype), 1.0), reinterpreted_batch_ndims=len(shape)
        )

    def layer(units, activation=None):
        return tfp.layers.DenseReparameterization(
            units,
            activation=activation,
            kernel_prior_fn=prior,
            bias_prior_fn=prior,
            bias_posterior_fn=tfp.layers.default_mean_field_normal_fn(),
        )

    network = tf_keras.Sequential([layer(10, "tanh"), layer(1)])
    network(x)  # creates the variables

    @tf.function
    def run(steps):
        for _ in tf.range(steps):
            with tf.GradientTape() as tape:
                log_p = -tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=network(x)))
                neg_elbo = tf.add_n(network.losses) - log_p
            variables = network.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(neg_elbo, variables), variables, strict=True))

    optimizer.build(network.trainable_variables)
    return network, run, start


def article(request):
    """Fit to the optimum; the time includes tracing."""
    steps, rate = RECIPES[request["recipe"]]
    schedule = tf_keras.optimizers.schedules.CosineDecay(rate, steps)
    network, run, start = prepare(request, tf_keras.optimizers.Adam(schedule))
    run(tf.constant(steps))
    seconds = since(start)
    answer = {**seconds, "steps": steps, "loc": {}, "scale": {}}
    for index, layer in zip((0, 2), network.layers, strict=True):
        for kind, q in (("weight", layer.kernel_posterior), ("bias", layer.bias_posterior)):
            # TFP's kernels are (inputs, outputs).
            answer["loc"][f"{index}.{kind}"] = q.distribution.loc.numpy().T.tolist()
            answer["scale"][f"{index}.{kind}"] = q.distribution.scale.numpy().T.tolist()
    return answer


def step(request):
    """Time a warm step in milliseconds, with many steps per call."""
    _, run, _ = prepare(request, tf_keras.optimizers.Adam(0.001))
    return {"ms": step_ms(lambda steps: run(tf.constant(steps)), request["steps"])}


if __name__ == "__main__":
    serve({"article": article, "step": step})
