"""Two sides timed in turn, after their outputs were found equal."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

from tasutils.bench.rows import Spread

A = TypeVar("A")
B = TypeVar("B")


class Timed(NamedTuple):
    """Fields of a `Row`: what was checked, and the seconds of both sides with their ratio."""

    checked: str
    ours_s: Spread
    plain_s: Spread
    ratio: Spread

    def fields(self) -> dict[str, Any]:
        """As keyword arguments of `Row`."""
        return self._asdict()


def alternate(
    ours: Callable[[], A],
    plain: Callable[[], B],
    same: Callable[[A, B], str],
    repeats: int,
    per: float = 1,
    settle: Callable[[], object] | None = None,
    plain_per: float | None = None,
) -> Timed:
    """Check that both sides give the same, then time them in turn, every other time ours last.

    Args:
        ours, plain: the two sides; the check is their warm-up.
        same: what was compared, in words; raises `Unequal` where the outputs differ.
        repeats: timings of each side, 1 or more.
        per: what the seconds are divided by, such as a number of images.
        settle: waits for the device to be done.
        plain_per: what the loop's seconds are divided by; None: the same as ours.
    """
    checked = same(ours(), plain())
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    sides: list[tuple[str, Callable[[], object]]] = [("plain", plain), ("ours", ours)]
    divisors = {"ours": per, "plain": per if plain_per is None else plain_per}
    for _ in range(repeats):
        sides.reverse()
        for name, side in sides:
            times[name].append(timed(side, settle) / divisors[name])
    ratios = [b / a for a, b in zip(times["ours"], times["plain"], strict=True)]
    return Timed(checked, Spread.of(times["ours"]), Spread.of(times["plain"]), Spread.of(ratios))


def timed(side: Callable[[], object], settle: Callable[[], object] | None = None) -> float:
    """Seconds of one call."""
    if settle is not None:
        settle()
    start = perf_counter()
    side()
    if settle is not None:
        settle()
    return perf_counter() - start
