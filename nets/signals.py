"""What a run does when it is told to end: by Ctrl-C, or by a cluster that sends SIGTERM or SIGHUP."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """
    A signal has asked the process to end.

    Attributes
    ----------
    number : int
        Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return "interrupted" if self.number == signal.SIGINT else f"stopped by {signal.Signals(self.number).name}"

    @property
    def exit_code(self) -> int:
        """As shells count: 128 and the signal's number."""
        return 128 + self.number


class Listener:
    """
    Turns the first signal into `Stopped`, where the program is; a second one ends the process at once.

    Use it as a context; what was done with signals before is restored at the end. In threads other than the main one,
    which get no signals, it does nothing.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._holding, self._held = False, 0

    def __enter__(self) -> Listener:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._first) for number in _SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _first(self, number: int, frame: FrameType | None) -> None:
        for other in _SIGNALS:
            signal.signal(other, _leave)
        if self._holding:
            self._held = number
            return
        raise Stopped(number)

    @contextmanager
    def held(self) -> Iterator[None]:
        """For what must not be left half done: the first signal waits until it is."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._held:
            raise Stopped(self._held)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)
