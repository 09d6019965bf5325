"""SIGINT and SIGTERM during a fit that can be resumed later."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any, NoReturn, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Keeps the first SIGINT or SIGTERM, so that the fit can stop after its present step."""

    # A second signal has its usual effect. The handlers are set only inside the `with` block, and only in the main
    # thread, as Python requires. A signal that the process ignores stays ignored.

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for each in _SIGNALS:
            previous = signal.getsignal(each)
            if previous in (None, signal.SIG_IGN):  # None: it was not set by Python and could not be restored
                continue
            try:
                signal.signal(each, self._keep)
            except ValueError:  # not the main thread
                return self
            self._previous[each] = previous
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _keep(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            each, previous = self._previous.popitem()
            if signal.getsignal(each) == self._keep:  # a handler that was set in the meantime stays
                signal.signal(each, previous)


def stop(received: signal.Signals, message: str) -> NoReturn:
    """Stop a fit after a signal."""
    if received == signal.SIGINT:
        raise KeyboardInterrupt(message)
    # Python prints no text for a `SystemExit` with a status.
    print(message, file=sys.stderr, flush=True)
    stopped = SystemExit(message)
    stopped.code = 128 + int(received)
    raise stopped
