"""Pictures of P: masks with what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasutils.canvas import GREY, OKABE_ITO, Picture, axes_in, draw_image, fit_text, write


class Card(NamedTuple):
    """A crop, float (s, s, 3) in 0..1; what is said of it, what it is, and is the saying good."""

    crop: NDArray[np.float32]
    said: str
    truth: str
    good: bool


def caption_cards(cards: Sequence[Card], *, columns: int = 6, width_in: float = 9.0) -> Picture:
    """Draw crops with their captions below: a tick where the caption names the thing, else a cross.

    Args:
        cards: in reading order.
        columns: cards side by side.
        width_in: width of the picture in inches.
    """
    side, foot = width_in / columns, 0.62
    rows = max(-(-len(cards) // columns), 1)
    figure = Picture(figsize=(width_in, rows * (side + foot)))
    for place, card in enumerate(cards):
        row, column = divmod(place, columns)
        left, bottom = column * side + 0.04, figure.get_figheight() - (row + 1) * (side + foot)
        draw_image(axes_in(figure, left, bottom + foot + 0.02, side - 0.1, side - 0.08), card.crop)
        said = fit_text(card.said or "(no caption)", side - 0.24, 8.5, 2)
        color = OKABE_ITO["green" if card.good else "vermillion"]
        write(figure, left, bottom + 0.43, ["✔" if card.good else "✘"], 9, color)
        write(figure, left + 0.16, bottom + 0.57 - 0.14 * len(said), said, 8.5)
        write(
            figure,
            left + 0.16,
            bottom + 0.12,
            fit_text(f"is: {card.truth}", side - 0.2, 8.5, 1),
            8.5,
            GREY,
        )
    return figure
