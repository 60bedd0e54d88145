"""What a bench says: rows with their spreads and targets, under the conditions they were taken."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import ValidationError

from tasutils.config import Part
from tasutils.errors import TasError

FORMAT = 1  # of the JSON; raise it when a field changes its meaning


class Spread(Part):
    """Several measurements of one number: median, lowest, highest, and how many."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """The spread of one or more numbers."""
        median = float(np.median(values))
        return cls(median=median, low=min(values), high=max(values), n=len(values))


class Target(Part):
    """What a number should reach: `number` is ratio, ours_s, or the name of a measure."""

    number: str
    at_least: float | None = None
    at_most: float | None = None


class Row(Part):
    """One comparison of the bench.

    Attributes:
        section, what: which part of the bench, and what was compared.
        per: what the seconds are for, such as an image.
        ours_s, plain_s: seconds of ours and of the plainly written loop.
        ratio: the loop's seconds over ours, pair by pair in the order they were taken.
        measures: further numbers, the unit in the name.
        target: what is hoped for, if anything.
        checked: what was found equal before the timing, and within what tolerance.
        note: what a reader has to know of the numbers.
        skipped: why there are none.
    """

    section: str
    what: str
    per: str = "image"
    ours_s: Spread | None = None
    plain_s: Spread | None = None
    ratio: Spread | None = None
    measures: dict[str, float] = {}
    target: Target | None = None
    checked: str = ""
    note: str = ""
    skipped: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached, by the median; None without target or number."""
        if self.target is None or self.targeted is None:
            return None
        low, high = self.target.at_least, self.target.at_most
        return (low is None or self.targeted >= low) and (high is None or self.targeted <= high)

    @property
    def targeted(self) -> float | None:
        """The number that the target is about."""
        if self.target is None:
            return None
        found = {"ratio": self.ratio, "ours_s": self.ours_s}.get(self.target.number)
        return self.measures.get(self.target.number) if found is None else found.median


class Bench(Part):
    """All rows of a run of `tas bench`, with its conditions (see `conditions.conditions`)."""

    format: int = FORMAT
    conditions: dict[str, Any]
    rows: list[Row]

    def write(self, path: Path) -> None:
        """Write the bench as JSON; raises TasError when it cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)
            path.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise TasError(f"cannot write {path}: {error.strerror}; choose another file") from None


def read_bench(path: Path | str) -> Bench:
    """The bench of a JSON file that `tas bench --json` wrote; raises TasError if it is none."""
    try:
        bench = Bench.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise TasError(f"cannot read {path}: {error.strerror}; name a file of tas bench") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise TasError(f"{path} is no file of tas bench --json ({where}: {first['msg']})") from None
    if bench.format != FORMAT:
        raise TasError(f"{path} has format {bench.format}, not {FORMAT}; run tas bench again")
    return bench
