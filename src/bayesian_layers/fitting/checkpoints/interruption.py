"""SIGINT and SIGTERM while a fit runs that can go on later."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any, NoReturn, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Notes the first SIGINT or SIGTERM, for the fit to end at its next step's boundary.

    A second one acts as if this did not exist. Handlers stand only inside the ``with`` block, and only in the main
    thread: Python allows no others. A signal that the process ignores stays ignored.

    Attributes:
        received: The signal, or ``None``.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for each in _SIGNALS:
            previous = signal.getsignal(each)
            if previous in (None, signal.SIG_IGN):  # None: not set by Python, so it could not be put back
                continue
            try:
                signal.signal(each, self._note)
            except ValueError:  # not the main thread
                return self
            self._previous[each] = previous
        return self

    def __exit__(self, *_: object) -> None:
        self._put_back()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._put_back()

    def _put_back(self) -> None:
        while self._previous:
            each, previous = self._previous.popitem()
            if signal.getsignal(each) == self._note:  # somebody else's handler stays
                signal.signal(each, previous)


def end(received: signal.Signals, message: str) -> NoReturn:
    """End a fit after a signal."""
    # Python prints no text of a ``SystemExit`` with a status, so it is printed here.
    if received == signal.SIGINT:
        raise KeyboardInterrupt(message)
    print(message, file=sys.stderr, flush=True)
    ended = SystemExit(message)
    ended.code = 128 + int(received)
    raise ended
