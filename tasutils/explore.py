"""explore(): all that the Explorer shows of one sentence, as one value; needs no widget.

    >>> from tasutils.explore import explore
    >>> explore(tas, image, scene, "the red car", alpha=0.2)  # doctest: +SKIP

shows picture, reason and table where it stands last in a cell of a notebook.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError
from tasutils.mask_svg import backdrop, mask_svg, outlines, picture_class
from tasutils.masks import decode_rle
from tasutils.view_html import TABLE_STYLE, mask_words, ranking, reading_words, reason_words

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.baselines import Method
    from tasutils.refer import Expression, TasAnswer
    from tasutils.scene import Scene
    from tasutils.tas import TAS

FORMS = ("none", "paper", "extended", "official")


@dataclass(frozen=True, eq=False)
class View:
    """What is seen of one sentence over one picture with n masks.

    preset, method: names of who answered; image: uint8 (H, W, 3); columns: the numbers of each
    mask, float64 (n,): v, p, n and total of TAS, `score` of a peer; chosen: index of the mask, None
    without any; rank: int64 (n,), 1 is the answer; inside: bool (n,), which masks may win; reason:
    why, in a line; picked: a mask that is looked at; answer: of TAS, None of a peer.
    """

    preset: str
    method: str
    image: NDArray[np.uint8]
    scene: Scene
    expression: Expression
    columns: dict[str, NDArray[np.float64]]
    best: int | None
    rank: NDArray[np.int64]
    inside: NDArray[np.bool_]
    reason: str
    picked: int | None = None
    answer: TasAnswer | None = None

    @cached_property
    def svg(self) -> str:
        """The picture's drawing, to be laid over `mask_svg.backdrop`; all text is escaped."""
        told = f"masks of the picture; the answer to “{self.expression.text}”: {self.reason}"
        return mask_svg(
            outlines(self.scene),
            self.rank.tolist(),
            self.inside.tolist(),
            [mask_words(self, i) for i in range(len(self.rank))],
            told,
            self.picked,
            [] if self.answer is None else left_out(self.answer),
        )

    @cached_property
    def ranking(self) -> str:
        """The masks as an HTML table, best first; all text is escaped."""
        return ranking(self)

    @property
    def html(self) -> str:
        """Drawing, reason, negatives and table; the picture itself comes from `sheet`."""
        words = reason_words(self) + reading_words(self)
        name = picture_class(self.image, self.scene)
        return f'<div class="tas-view {name}">{self.svg}{words}{self.ranking}</div>'

    @property
    def sheet(self) -> str:
        """The style sheet that `html` needs, with the picture in it."""
        return style_sheet(self.image, self.scene)

    def _repr_html_(self) -> str:
        return self.sheet + self.html

    def mask(self) -> NDArray[np.bool_]:
        """The chosen mask, bool (H, W); empty where no mask was chosen."""
        if self.best is None:
            return np.zeros(self.scene.size_hw, dtype=bool)
        return decode_rle([self.scene.proposals.rles[self.best]])[0]

    def table(self) -> pd.DataFrame:
        """One row a mask, best first, index "mask": the columns, in_region, rank, caption, area_px.

        A peer knows no region, so there in_region is always True.
        """
        import pandas as pd

        rest = {
            "in_region": self.inside,
            "rank": self.rank,
            "caption": pd.Series(list(self.scene.captions), dtype="str"),
            "area_px": self.scene.proposals.areas_px,
        }
        index = pd.RangeIndex(len(self.rank), name="mask")
        return pd.DataFrame({**self.columns, **rest}).set_axis(index, axis=0).sort_values("rank")


def style_sheet(image: NDArray[np.uint8], scene: Scene) -> str:
    """The style sheet of all views of a picture, uint8 (H, W, 3), and its scene."""
    return f"<style>{TABLE_STYLE}</style>{backdrop(image, scene)}"


def explore(
    tas: TAS,
    image: NDArray[np.uint8],
    scene: Scene,
    sentence: str,
    *,
    method: str | Method = "tas",
    alpha: float | None = None,
    lam: float | None = None,
    form: str | None = None,
    picked: int | None = None,
) -> View:
    """Answer a sentence and draw what there is to see, without matplotlib and within milliseconds.

    Args:
        tas: what `tasutils.load` returned.
        image: uint8 (H, W, 3), which `scene` describes.
        scene: what `tas.describe` returned for it.
        sentence: what to find.
        method: a name of `baselines.method_names`, or a method made before, which then need not
            look at the picture again.
        alpha: weight of P, lam: weight of N, form: of the rectifier, one of `FORMS`; None takes the
            preset's. Peers have none of the three.
        picked: a mask to outline in green and to tell of.

    Raises:
        TasError: a sentence or method that cannot be used, an unknown form, no mask `picked`, a
            picture of another size than the scene's.
    """
    from tasutils.baselines.base import check_picture

    check_picture(scene, image)
    n = len(scene.proposals)
    if picked is not None and not 0 <= picked < n:
        raise TasError(f"no mask {picked}; the picture has {n}, numbered from 0")
    if form is not None and form not in FORMS:
        raise TasError(f"no rectifier form {form!r}; choose among {', '.join(FORMS)}")
    if method != "tas":
        return _peer_view(tas, image, scene, sentence, method, picked)
    from tasutils.refer import refer

    preset = tas.preset
    if form is not None and form != preset.rectifier.form:
        preset = preset.override({"rectifier.form": form})
    weights = {name: w for name, w in (("p", alpha), ("n", lam)) if w is not None}
    answer = refer(scene, sentence, tas.encoder, tas.language, preset, weights=weights)
    columns = {"v": answer.v, "p": answer.p, "n": answer.n, "total": answer.total}
    return View(
        tas.preset.name, method, image, scene, answer.expression, columns, answer.best,
        answer.rank, answer.in_region, answer.reason, picked, answer,
    )  # fmt: skip


def _peer_view(
    tas: TAS,
    image: NDArray[np.uint8],
    scene: Scene,
    sentence: str,
    method: str | Method,
    picked: int | None,
) -> View:
    from tasutils.baselines import make_method, scores_of
    from tasutils.refer import parse_expression
    from tasutils.run_tables import Choice

    peer = make_method(method, tas) if isinstance(method, str) else method
    expression = parse_expression(sentence, tas.language, tas.preset)
    scores = scores_of(peer, scene, expression, image)
    choice = Choice.of_scores(peer.name, scores)
    rank = np.empty(len(scores), np.int64)
    rank[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return View(
        tas.preset.name, peer.name, image, scene, expression, {"score": scores},
        choice.chosen if choice.chosen >= 0 else None, rank, np.ones(len(scores), bool),
        choice.reason, picked,
    )  # fmt: skip


def left_out(answer: TasAnswer) -> list[tuple[float, float, float, float]]:
    """The parts of the picture in which no mask may win: x0, y0, x1, y1 each, px.

    A region is made of quarters that meet where the rectifier cuts (`rectifier.cut_xy`).
    """
    from tasutils.rectifier import cut_xy
    from tasutils.refer import region

    if not answer.rectified:
        return []
    rules = answer.preset.rectifier
    (height, width), centers = answer.scene.size_hw, answer.scene.proposals.centers_xy
    if rules.centers == "floor":
        centers = answer.scene.proposals.floored_centers_xy()
    # a pixel's number is its centre; the picture's edge lies half a pixel further out
    x, y = (at + 0.5 for at in cut_xy(centers, answer.scene.size_hw, rules.cut))
    quarters = [
        (x0, y0, x1, y1)
        for x0, x1 in ((0.0, x), (x, float(width)))
        for y0, y1 in ((0.0, y), (y, float(height)))
    ]
    middles = [((x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2) for x0, y0, x1, y1 in quarters]
    inside, _ = region(answer.scene, answer.expression, answer.preset, middles)
    return [quarter for quarter, good in zip(quarters, inside, strict=True) if not good]


def export(view: View, folder: str | Path) -> tuple[Path, Path]:
    """Write a view's picture (PNG) and table (CSV) into a folder, beside those that are there.

    Raises:
        TasError: the folder cannot be written.
    """
    from tasutils.answers import slug
    from tasutils.show import save_overlay

    place = Path(folder).expanduser()
    try:
        place.mkdir(parents=True, exist_ok=True)
        taken = [int(p.stem[:2]) for p in place.glob("[0-9][0-9]*.csv") if p.stem[:2].isdigit()]
        name = f"{view.preset} {view.method} {view.expression.text}"
        stem = place / slug(1 + max(taken, default=0), name)
        picture, table = stem.with_suffix(".png"), stem.with_suffix(".csv")
        view.table().to_csv(table)
    except OSError as error:
        raise TasError(
            f"cannot write in {place}: {error.strerror}; choose another folder"
        ) from None
    save_overlay(picture, view.image, view, picked=view.picked)
    return picture, table
