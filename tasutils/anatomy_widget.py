"""Bars to click: each cause of wrong answers with the pictures of its cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import ipywidgets as ipw

from tasutils.anatomy import CAUSES
from tasutils.anatomy_charts import COLORS, case_rows, cases
from tasutils.show import gallery

if TYPE_CHECKING:
    from pandas import DataFrame

    from tasutils.gallery import Gallery

_LONGEST_PX = 300


class AnatomyBrowser(ipw.VBox):
    """Click a bar, see the cases: orange is the answer, dashed blue what was meant.

    Args:
        galleries: one for each run.
        table: of `anatomy.anatomy` over those runs.
        count: pictures that are shown at once.

    Attributes:
        bars: a button for each cause that has cases, by its name; more: the button for the next.
        cause: the cause whose cases are shown; start: the number of the first of them, from 0.
    """

    def __init__(self, galleries: Sequence[Gallery], table: DataFrame, count: int = 3) -> None:
        self._galleries, self._table, self._count = galleries, table, count
        self.cause, self.start = "", 0
        self.bars: dict[str, ipw.Button] = {}
        self.more = ipw.Button(description="next cases", disabled=True)
        self._message = ipw.HTML("no wrong answer")
        self._picture = ipw.Image(format="png", layout=ipw.Layout(max_width="100%"))
        counts = table["cause"].value_counts()
        rows = [self._bar(name, int(counts.get(name, 0)), int(counts.max())) for name in CAUSES]
        super().__init__([*rows, ipw.HBox([self.more]), self._message, self._picture])
        self.more.on_click(lambda _: self.show(self.cause, self.start + self._count))
        if self.bars:
            self.show(max(self.bars, key=lambda name: int(counts[name])))

    def _bar(self, name: str, n: int, most: int) -> ipw.HBox:
        bar = ipw.Button(tooltip=f"show cases of {name}", disabled=n == 0)
        bar.layout.width = f"{max(_LONGEST_PX * n // max(most, 1), 8)}px"
        bar.style.button_color = COLORS[name]
        bar.on_click(lambda _: self.show(name))
        if n:
            self.bars[name] = bar
        title = ipw.HTML(f"<b>{name}</b>", layout=ipw.Layout(width="90px"))
        return ipw.HBox([title, bar, ipw.HTML(f"{n} &nbsp; {CAUSES[name]}")])

    def show(self, cause: str, start: int = 0) -> None:
        """Show cases of a cause, from number `start` on; past the last one, the first again."""
        n = int((self._table["cause"] == cause).sum())
        self.cause, self.start = cause, start if start < n else 0
        rows = case_rows(self._table, cause, self.start, self._count)
        self._picture.value = gallery(cases(self._galleries, rows)).png()
        last = self.start + len(rows)
        self._message.value = f"<b>{cause}</b>: cases {self.start + 1} to {last} of {n}"
        self.more.disabled = n <= self._count
