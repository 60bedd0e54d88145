"""Signals that end a command: it closes what is open and keeps what is done, as for ctrl-c."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import Any

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
_TWICE_S = 1.0  # `timeout` and terminals send a signal to a process and to its group


@contextmanager
def ended_by_signals() -> Iterator[list[signal.Signals]]:
    """Raise KeyboardInterrupt in the main thread for SIGINT, SIGTERM and SIGHUP.

    One that comes within a second of another is the same one, and does not stop the tidying up. A
    signal that the caller of the program has ignored, as nohup does, stays so.

    Yields:
        The signals that came, which fills as they come.
    """
    came: list[signal.Signals] = []
    last_s = -_TWICE_S

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal last_s
        now_s = monotonic()
        if now_s - last_s >= _TWICE_S:
            last_s = now_s
            came.append(signal.Signals(number))
            raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in WORDS:
            number = getattr(signal, name, None)  # not every system has all
            if number and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, end)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Let no library set the handler of SIGTERM in this context, as Ray does when it starts."""
    set_handler: Any = signal.signal

    def refuse_sigterm(number: int, handler: Any) -> Any:
        if number == signal.SIGTERM:
            return signal.getsignal(number)
        return set_handler(number, handler)

    signal.signal = refuse_sigterm  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = set_handler


def end_at_once() -> None:
    """Let ctrl-c end a program that has nothing more to keep, without KeyboardInterrupt's trace."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
