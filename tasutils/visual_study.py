"""V by itself: what the encoder is shown, what it takes for what, and what TAS adds to it.

V alone is the choice by V without weights and rectifier; right is an IoU above `covering.GOOD`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.config import CropConfig, Preset, load_preset, preset_names
from tasutils.covering import GOOD, covering, is_right, wanted
from tasutils.encoders.settings import AlbefConfig, AlignConfig
from tasutils.gallery import Gallery
from tasutils.metrics import iou
from tasutils.readable import finding, percent
from tasutils.registry import remedy
from tasutils.stats import bootstrap, paired_difference
from tasutils.study import gain
from tasutils.terms import v_score

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.scene import Proposals
    from tasutils.study import Part
    from tasutils.tas import TAS

MISTAKES = (
    "a piece of it",
    "another of its kind, or a piece",
    "another kind, or a piece",
    "nothing that a sentence asks for",
    "no good mask to choose",
)
STEPS = {"P and N": ("V+P+N", False), "P, N, rectifier": ("V+P+N", True)}
LEADS = (0.0, 0.01, 0.03, 0.1, 2.0)  # of V over the second mask, cosines


def cut(
    image: NDArray[np.uint8], proposals: Proposals, size: int, config: CropConfig
) -> NDArray[np.float32]:
    """The masked crops of proposals, to look at: float32 (n, size, size, 3) in 0..1."""
    from tasutils.crops import masked_crops

    crops = masked_crops(image, proposals.masks(), proposals.boxes_xyxy, size, config)
    return np.asarray(crops.permute(0, 2, 3, 1).numpy(), np.float32)


def look(
    tas: TAS, image: NDArray[np.uint8], proposals: Proposals, text: str, config: CropConfig
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """What the encoder is shown of masks, see `cut`, and V of each for a sentence, (n,)."""
    import torch

    encoder = tas.encoder
    crops = cut(image, proposals, encoder.image_size, config)
    seen = encoder.encode_images(torch.from_numpy(crops).permute(0, 3, 1, 2).to(encoder.device))
    asked = encoder.encode_text([tas.preset.encoder.template.format(text)])[0]
    return crops, v_score(seen, asked)


def mistakes(part: Part) -> pd.DataFrame:
    """The sentences that V alone answers wrongly, and what it took instead.

    Returns:
        Columns row (of the samples), text, category, kind (of `MISTAKES`), taken (category of the
        thing that the chosen mask covers or lies on, "" for none that is asked for), meant, chosen
        (proposals, -1 for none), v_meant, v_chosen (NaN for none).
    """
    import pandas as pd

    table, chosen = part.scores, part.scores.choose(0, 0, "none")
    best, right, on = wanted(part), is_right(part, chosen), covering(part)
    proposal, v = np.append(table.proposal, -1), np.append(table.v, np.nan)  # row -1 is none
    rows: list[tuple[object, ...]] = []
    for row in np.flatnonzero(~right):
        sample, picked, meant = part.samples.iloc[row], chosen[row], best[row]
        target = None if picked < 0 else on.loc[(sample["image_id"], proposal[picked])]
        kind, taken = _mistake(sample, target, meant >= 0)
        said = (row, sample["text"], sample["category"], kind, taken)
        rows.append((*said, proposal[meant], proposal[picked], v[meant], v[picked]))
    names = ["row", "text", "category", "kind", "taken", "meant", "chosen", "v_meant", "v_chosen"]
    return pd.DataFrame(rows, columns=names)


def _mistake(sample: pd.Series, target: pd.Series | None, proposed: bool) -> tuple[str, str]:
    """The kind of a mistake, and the category taken; target: what the chosen mask covers best."""
    if not proposed or target is None:
        return MISTAKES[4], ""
    if not target["covers"] and target["inside"] <= GOOD:
        return MISTAKES[3], ""
    if target["ref_id"] == sample["ref_id"]:
        return MISTAKES[0], str(target["category"])
    same = target["category"] == sample["category"]
    return MISTAKES[1 if same else 2], str(target["category"])


def pair_crops(part: Part, found: pd.DataFrame) -> list[NDArray[np.float32]]:
    """What the encoder is shown of the mask meant and of the one chosen, float32 (2, s, s, 3) each.

    found: rows of `mistakes` that have both.
    """
    gallery = Gallery(part)
    config, size = gallery.tas.preset.crop, gallery.tas.encoder.image_size
    pairs = []
    for _, row in found.iterrows():
        image, scene = gallery.picture(part.images[row["row"]])
        both = scene.proposals.take(np.array([row["meant"], row["chosen"]]))
        pairs.append(cut(image, both, size, config))
    return pairs


def by_lead(part: Part, n_boot: int = 1000) -> pd.DataFrame:
    """mIoU of V alone by how far its choice leads the second mask; sentences of two masks and more.

    Returns:
        Columns question (""), group (of `LEADS`), mean, low, high, n.
    """
    import pandas as pd

    table = part.scores
    ranked = pd.Series(table.v).groupby(table.segment).nlargest(2).groupby(level=0)
    ahead = (ranked.first() - ranked.last())[ranked.size() > 1]
    lead = ahead.reindex(range(len(part.samples))).to_numpy()  # NaN where there is no second
    pixels, rows = part.pixels("V", False), []
    for low, high in zip(LEADS, LEADS[1:], strict=False):
        who = (lead >= low) & (lead < high)
        if who.any():
            pair = (pixels[0][who], pixels[1][who])
            found = bootstrap(*pair, part.images[who], ("miou",), n_resamples=n_boot)["miou"]
            name = f"lead {low:g} to {high:g}" if high < 1 else f"lead {low:g} and more"
            rows.append(("", name, found.value, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=["question", "group", "mean", "low", "high", "n"])


def encoders(preset: Preset) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Encoders beside the preset's own: those that the presets and the article name.

    ConSE is for photographs and the drawn world's for drawings: neither is tried on the other.

    Returns:
        By name the changes for `Preset.override` where all weights are here, and for the others
        what to do about it.
    """
    presets = [preset, *map(load_preset, preset_names())]
    known: list[Any] = [one for p in presets for one in (p.encoder, p.peer_encoder) if one]
    known += [AlignConfig(checkpoint="paper/align-base")]
    known += [AlbefConfig(checkpoint="paper/albef/mscoco.pth", tokenizer="paper/bert-base-uncased")]
    here: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    for config in known:
        name, drawn = encoder_name(config), str(config.checkpoint).startswith("tiny/")
        if name == encoder_name(preset.encoder) or config.kind == "conse":
            continue
        if drawn and preset.photographs:
            continue
        change = {"encoder": config.model_dump()}
        weights = preset.override(change).weight_paths().items()
        absent = [path for field, path in weights if field[:8] == "encoder." and not path.exists()]
        if absent:
            missing[name] = remedy(absent[0])
        else:
            here[name] = change
    return here, missing


def encoder_name(config: Any) -> str:
    """What an encoder is called in tables: its open_clip model, or its kind."""
    return str(getattr(config, "model", None) or {"conse": "ConSE"}.get(config.kind) or config.kind)


def encoder_gains(parts: Mapping[str, Part], n_boot: int = 1000) -> pd.DataFrame:
    """What TAS adds to V with each encoder, on the sentences that all runs of a split share.

    Args:
        parts: a run by the name of its encoder.
        n_boot: resamples of images.

    Returns:
        Columns question (data set and split), group (encoder and one of `STEPS`), V and after
        (mIoU), mean, low, high (their paired difference), n.
    """
    import pandas as pd

    rows = []
    for name, part in parts.items():
        place = f"{part.family} {part.split}"
        alike = [p for p in parts.values() if f"{p.family} {p.split}" == place]
        who = np.logical_and.reduce([_shared(part, other) for other in alike])
        plain = part.pixels("V", False)
        for step, (variant, rectifier) in STEPS.items():
            full = part.pixels(variant, rectifier)
            before, after = (float(iou(*pair)[who].mean()) for pair in (plain, full))
            rows.append({
                "question": place, "group": f"{name}: {step}", "V": before, "after": after,
                **gain(part, full, plain, who, n_boot),
            })  # fmt: skip
    return pd.DataFrame(rows)


def crop_gains(part: Part, others: Mapping[str, Part], n_boot: int = 1000) -> pd.DataFrame:
    """V alone by other crops against the part's own, on shared sentences.

    Returns:
        Columns question (""), group (the crop), mean, low, high (change of mIoU, paired), n.
    """
    import pandas as pd

    rows = []
    for name, other in others.items():
        who, there = _shared(part, other), _shared(other, part)
        before, after = part.pixels("V", False), other.pixels("V", False)
        found = paired_difference(
            (after[0][there], after[1][there]), (before[0][who], before[1][who]),
            part.images[who], ("miou",), n_resamples=n_boot,
        )  # fmt: skip
        rows.append(("", name, *found["miou"][:4]))
    return pd.DataFrame(rows, columns=["question", "group", "mean", "low", "high", "n"])


def _shared(part: Part, other: Part) -> NDArray[np.bool_]:
    """Which sentences of a part another one has too, bool (n,)."""
    return part.samples["sample_id"].isin(other.samples["sample_id"]).to_numpy(bool)


def summary(
    part: Part, found: pd.DataFrame, leads: pd.DataFrame, crops: pd.DataFrame, gains: pd.DataFrame
) -> list[str]:
    """Say in words what the tables hold: every number is read from them."""
    n, counts = len(part.samples), found["kind"].value_counts()
    lines = [f"V alone is right on {n - len(found)} of {n} sentences."]
    if len(found):
        lines.append(f"Its commonest mistake: {counts.index[0]}, {counts.iloc[0]} of {len(found)}.")
    ends = leads.iloc[[0, -1]].to_dict("records")
    told = [f"{r['group']} {percent(r['mean'], r['low'], r['high'])} (n = {r['n']})" for r in ends]
    lines.append(f"mIoU of V alone by its lead over the second mask: {'; '.join(told)}.")
    for row in crops.to_dict("records"):
        lines.append(f"Crops, {finding(row | {'piece': row['group']})}, V alone.")
    for row in gains.to_dict("records"):
        lines.append(f"{finding(row | {'piece': row['group']})}; V alone {100 * row['V']:.1f}.")
    clear = int((gains["low"] > 0).sum())
    lines.append(f"Of {len(gains)} gains over V, {clear} are clear (interval above 0).")
    return lines
