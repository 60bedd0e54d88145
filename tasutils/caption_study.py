"""P by itself: how good the captions are, when they beat the crops, and what cleaning changes.

A caption names a thing if WordNet calls its noun and the thing's category synonyms, by the rule
`nearest` at the preset's threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from tasutils.covering import covering, is_right, wanted
from tasutils.gallery import Gallery
from tasutils.language.wordnet import mine_negatives
from tasutils.readable import finding, percent
from tasutils.stats import bootstrap
from tasutils.study import gain
from tasutils.visual_study import cut

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from tasutils.caption_charts import Card
    from tasutils.show import Example
    from tasutils.study import Part

ALONE = 1e6  # a weight beside which V only breaks ties
NAMES, OTHER, SILENT = "names it", "names another", "names nothing"
DUELS = ("both right", "only V right", "only V + alpha P right", "both wrong")
IOU_EDGES = (0.5, 0.7, 0.85, 1.0)
REPORTED = (  # degenerate captions as BLIP-2 makes them, see LAVIS issues 472 and 697
    "a man with ray ban ray ban ray",
    "a red red red car",
    "a photo of",
)


def captions(part: Part) -> pd.DataFrame:
    """The captions of all masks of a run, judged where a mask covers a thing asked for.

    Returns:
        One row a mask, index (image_id, proposal): the columns of `covering`, raw, caption, and
        verdict (`NAMES`, `OTHER`, `SILENT`; "" for a mask that covers nothing asked for).
    """
    import pandas as pd

    gallery, table = Gallery(part), covering(part)
    parser, threshold = gallery.tas.language, gallery.tas.preset.language.synonym_threshold
    scenes = {image: gallery.picture(image)[1] for image in dict.fromkeys(part.images)}
    rows = []
    for mask in table.reset_index().itertuples():
        scene, proposal, verdict = scenes[str(mask.image_id)], cast(int, mask.proposal), ""
        caption = scene.captions[proposal]
        if mask.covers:
            (found,) = mine_negatives([caption], str(mask.category), parser, threshold)
            verdict = SILENT if not found.noun else OTHER if found.kept else NAMES
        rows.append((scene.captions_raw[proposal], caption, verdict))
    said = pd.DataFrame(rows, columns=["raw", "caption", "verdict"], index=table.index)
    return table.join(said)


def cards(part: Part, table: pd.DataFrame, verdict: str, count: int) -> list[Card]:
    """Masks of one verdict with their captions, spread over the run; table: of `captions`."""
    from tasutils.caption_charts import Card

    gallery, some = Gallery(part), table[table["verdict"] == verdict]
    places = np.linspace(0, len(some) - 1, min(count, len(some))).round().astype(int)
    config, made = gallery.tas.preset.captioner.crop, []
    for row in some.iloc[places].reset_index().itertuples():
        image, scene = gallery.picture(str(row.image_id))
        one = scene.proposals.take(np.array([row.proposal], np.int64))
        crop = cut(image, one, 112, config)[0]
        made.append(Card(crop, str(row.caption), str(row.category), verdict == NAMES))
    return made


def naming(table: pd.DataFrame, n_boot: int = 1000) -> pd.DataFrame:
    """Share of captions that name what their mask covers, by the IoU of the mask.

    Args:
        table: of `captions`.
        n_boot: resamples of images.

    Returns:
        Columns question (""), group, mean, low, high (share, 0..1), n (masks).
    """
    import pandas as pd

    judged = table[table["verdict"] != ""]
    image = judged.index.get_level_values("image_id").to_numpy(str)
    good = (judged["verdict"] == NAMES).to_numpy(int)
    edges = [(IOU_EDGES[0], IOU_EDGES[-1]), *zip(IOU_EDGES, IOU_EDGES[1:], strict=False)]
    rows = []
    for low, high in edges:
        who = ((judged["iou"] > low) & (judged["iou"] <= high)).to_numpy(bool)
        if who.any():
            # a mean of 0 and 1 is an mIoU with unions of 1
            pair = (good[who], np.ones(int(who.sum()), int))
            share = bootstrap(*pair, image[who], ("miou",), n_resamples=n_boot)["miou"]
            rows.append(("", f"masks of IoU {low:g} to {high:g}", *share[:4]))
    return pd.DataFrame(rows, columns=["question", "group", "mean", "low", "high", "n"])


def duels(part: Part, alpha: float) -> NDArray[np.str_]:
    """Which of `DUELS` each sentence is, V alone against V + alpha P, str (n,); no rectifier."""
    before, after = (is_right(part, part.scores.choose(a, 0, "none")) for a in (0, alpha))
    return np.array(DUELS)[np.where(before, np.where(after, 0, 1), np.where(after, 2, 3))]


def heard(part: Part, verdicts: NDArray[np.str_], verdict: str, count: int) -> list[Example]:
    """Sentences of one of `DUELS` answered by P alone, with the caption that it went by."""
    gallery, shown = Gallery(part), []
    for row in gallery.spread(verdicts == verdict, count):
        one = gallery.example(int(row), ALONE, 0, "none")
        said = one.answer.table()["caption"].get(one.answer.best, "")
        shown.append(one._replace(note=f"caption: {said or '(none)'}"))
    return shown


def gain_by_caption(
    part: Part, table: pd.DataFrame, alphas: Sequence[float], n_boot: int = 1000
) -> pd.DataFrame:
    """What P adds to V, by the verdict on the caption of the best mask there is; no rectifier.

    Args:
        part: the run.
        table: of `captions`.
        alphas: weights of P.
        n_boot: resamples of images.

    Returns:
        Columns question (the weight), group, mean, low, high (change of mIoU, paired), n.
    """
    import pandas as pd

    best, plain, rows = wanted(part), part.pixels("V", False), []
    keys = zip(part.images, part.scores.proposal[best], strict=True)
    said = np.array([table["verdict"].get(key, "") for key in keys])
    said[best < 0] = ""
    for alpha in alphas:
        spoken = part.scores.pixels(part.scores.choose(alpha, 0, "none"))
        groups = {"all sentences": np.full(len(said), True)}
        groups |= {f"caption {verdict}": said == verdict for verdict in (NAMES, OTHER, SILENT)}
        for name, who in groups.items():
            if who.any():
                found = gain(part, spoken, plain, who, n_boot)
                rows.append({"question": f"{alpha:g}", "group": f"{name}, alpha {alpha:g}"} | found)
    return pd.DataFrame(rows)


def cleaned(part: Part, table: pd.DataFrame) -> pd.DataFrame:
    """The captions of masks and, as mask -1, of pictures, raw and cleaned; white space aside.

    Returns:
        One row a caption, index (image_id, proposal): raw, caption, changed (bool).
    """
    import pandas as pd

    gallery = Gallery(part)
    scenes = {image: gallery.picture(image)[1] for image in dict.fromkeys(part.images)}
    pictures = pd.DataFrame(
        [(scene.image_caption_raw, scene.image_caption) for scene in scenes.values()],
        columns=["raw", "caption"],
        index=pd.MultiIndex.from_product([scenes, [-1]], names=["image_id", "proposal"]),
    )
    both = pd.concat([table[["raw", "caption"]], pictures])
    return both.assign(changed=both["raw"].str.split().str.join(" ") != both["caption"])


def summary(
    clean: pd.DataFrame, shares: pd.DataFrame, fights: NDArray[np.str_], gains: pd.DataFrame
) -> list[str]:
    """Say in words what the tables hold; clean: of `cleaned`; fights: of `duels` with P alone."""
    lines = [f"Cleaning changed {clean['changed'].sum()} of {len(clean)} captions."]
    for row in shares.to_dict("records"):
        share = percent(row["mean"], row["low"], row["high"])
        lines.append(f"Of {row['n']} {row['group']}, {share} % of the captions name what they are.")
    crop, caption = (int((fights == name).sum()) for name in DUELS[1:3])
    lines.append(
        f"P alone is right where V alone is wrong on {caption} of {len(fights)} sentences,"
        f" the other way round on {crop}."
    )
    for row in gains.to_dict("records"):
        lines.append(f"{finding(row | {'piece': 'P, ' + row['group'] + ','})}.")
    return lines
