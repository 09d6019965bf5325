"""The training of a fit with its progress bar; after a divergence it starts again with a smaller learning rate."""

from __future__ import annotations

from tqdm.auto import tqdm

from ..errors import DivergenceError
from .checkpoints.checkpoint import Checkpointer
from .progress import Callback, ProgressReporter
from .setup import Settings
from .trainer import Trainer

_MAX_RESTARTS = 3  # after a divergence, each with a quarter of the learning rate


def train(
    trainer: Trainer,
    checkpointer: Checkpointer,
    settings: Settings,
    restarts: list[str],
    progress: bool,
    callbacks: tuple[Callback, ...],
    deadline: float,
) -> None:
    """Take the steps; after a divergence restart with a smaller learning rate, unless the caller chose it."""
    label = "ELBO" if settings.kl_weight == 1.0 else f"tempered objective (KL weight {settings.kl_weight})"
    total = trainer.schedule.max_steps
    with tqdm(total=total, initial=trainer.state.step, disable=not progress, desc="fit", unit="step") as bar:
        reporter = ProgressReporter(bar, label, callbacks, checkpointer.on_step, deadline)
        while not checkpointer.finished:
            try:
                trainer.train(reporter)
                return
            except DivergenceError as error:
                if settings.learning_rate is not None or len(restarts) >= _MAX_RESTARTS:
                    raise
                rate = trainer.schedule.learning_rate
                restarts.append(
                    f"the objective became {error.neg_elbo} at step {error.step} with a learning rate of {rate:.2g}; "
                    f"the fit was restarted with {rate / 4:.2g}. Standardize inputs and targets if they are not"
                )
                trainer.restart()
