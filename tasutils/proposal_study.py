"""What makers of masks miss, and what their settings change: the study of notebook 01."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasutils.metrics import bootstrap, paired_difference
from tasutils.proposals.compare import compare_proposers

if TYPE_CHECKING:
    from tasutils.config import Preset
    from tasutils.datasets.sample import RefDataset

SMALL, LARGE = 0.01, 0.05  # of the picture
CROWDED = 0.1  # of the box
FREESOLO = {
    "tiny": {"kind": "freesolo", "size": "tiny", "checkpoint": "tiny/freesolo.safetensors"},
    "r101": {"kind": "freesolo", "size": "r101", "checkpoint": "paper/FreeSOLO_R101_30k_pl.pth"},
}
FILTERS = {"none": (0, None), "over 2000 px": (2000, None), "and no pairs": (2000, 0.4)}


def makers_of(preset: Preset) -> dict[str, Preset]:
    """The makers of masks to set beside each other, each as a preset that differs in nothing else.

    A preset with SAM has FreeSOLO beside it, tiny beside tiny and the published one beside the
    published sizes; a union has its members alone, in pairs and all together.

    Returns:
        Presets by the names of their makers, rivals whose weights are not here left out; of a
        preset with FreeSOLO that one alone.
    """
    own = preset.proposals
    if own.kind == "freesolo":
        return {"FreeSOLO": preset}
    if own.kind == "sam":
        size = "tiny" if own.size == "tiny" else "r101"
        beside = preset.override({"proposals": FREESOLO[size]})
        return {"SAM": preset} | _present({"FreeSOLO": beside})
    from tasutils.proposals.settings import FreeConfig, MergeConfig

    sam, free = own.sam, own.free or FreeConfig(checkpoint=preset.encoder.checkpoint or "")
    merge, rest = own.merge or MergeConfig(), own.model_dump(exclude={"sam", "free", "merge"})
    members: dict[str, dict[str, Any]] = {
        "SAM": {"sam": sam},
        "free masks": {"free": free},
        "merged superpixels": {"merge": merge},
        "SAM and free": {"sam": sam, "free": free},
        "SAM and merged": {"sam": sam, "merge": merge},
        "all three": {"sam": sam, "free": free, "merge": merge},
    }
    made = {}
    for name, parts in members.items():
        if all(parts.values()):
            given = {part: config.model_dump() for part, config in parts.items() if config}
            made[name] = preset.override({"proposals": rest | given})
    return _present(made)


def _present(presets: Mapping[str, Preset]) -> dict[str, Preset]:
    """Those whose masks can be made here."""
    found = {}
    for name, preset in presets.items():
        places = [p for part, p in preset.weight_paths().items() if part.startswith("proposals")]
        if all(place.exists() for place in places):
            found[name] = preset
    return found


def settings_of(preset: Preset) -> dict[str, dict[str, Preset]]:
    """Presets that differ from this one in one setting of the masks, by setting and its value.

    SAM's points a side, its three thresholds and, of any maker, the filter after it: none, the
    article's least area of 2000 px, and its rule for pairs besides. A union has the overlap from
    which two masks are doubles. The preset's own value is always among them.
    """
    own = preset.proposals
    changed: dict[str, dict[str, tuple[float, ...]]] = {}
    if own.kind == "sam":
        points = own.points_per_side
        changed["points a side"] = {"points_per_side": (max(points // 2, 1), points, 2 * points)}
        for name in ("pred_iou_thresh", "stability_score_thresh"):
            value = getattr(own, name)
            around = tuple(round(value + step, 2) for step in (-0.2, 0, 0.2) if value + step < 1)
            changed[name.removesuffix("_thresh").replace("_", " ")] = {name: around}
        values = tuple(sorted({0.5, own.box_nms_thresh, 0.9}))
        changed["overlap of boxes"] = {"box_nms_thresh": values}
    elif own.kind == "union":
        values = tuple(sorted({0.6, own.mask_nms_thresh, 0.9}))
        changed["overlap of doubles"] = {"mask_nms_thresh": values}
    made = {
        setting: {
            f"{value:g}": preset.override({f"proposals.{name}": value})
            for name, values in names.items()
            for value in values
        }
        for setting, names in changed.items()
    }
    filters = {"its own": preset}
    for name, (area, overlap) in FILTERS.items():
        settings = {"overlap.min_area_px": area, "overlap.max_overlap": overlap}
        filters[name] = preset.override(settings)
    return made | {"filter after it": filters}


def settings_table(preset: Preset, dataset: RefDataset, limit: int | None = None) -> pd.DataFrame:
    """`compare.summary` for each of `settings_of`, with columns setting, value and own.

    Args:
        preset: whose maker of masks.
        dataset: its first pictures are taken.
        limit: how many; None for all.
    """
    from tasutils.tas import load

    rows = []
    for setting, presets in settings_of(preset).items():
        made = {value: load(changed, device="cpu").proposer for value, changed in presets.items()}
        found = compare_proposers(made, dataset, limit).rename_axis("value").reset_index()
        found.insert(0, "setting", setting)
        same = [_masks_alike(preset, changed) for changed in presets.values()]
        rows.append(found.assign(own=same))
    return pd.concat(rows, ignore_index=True)


def _masks_alike(preset: Preset, other: Preset) -> bool:
    return (preset.proposals, preset.overlap) == (other.proposals, other.overlap)


def reach_by_group(table: pd.DataFrame, n_boot: int = 1000) -> pd.DataFrame:
    """Oracle mIoU of each maker on groups of targets: by how hidden, crowded and large they are.

    Args:
        table: of `compare.oracle_table`.
        n_boot: bootstrap resamples of images.

    Returns:
        Columns question, group, proposer, mean, low, high, n; groups without a target left out.
    """
    rows = []
    for question, group, part in _groups(table):
        for proposer, its in part.groupby("proposer", sort=False):
            pixels = _pixels(its)
            image = its["image_id"].to_numpy(str)
            found = bootstrap(*pixels, image, ("miou",), n_resamples=n_boot)["miou"]
            numbers = {"mean": found.value, "low": found.low, "high": found.high, "n": found.n}
            rows.append({"question": question, "group": group, "proposer": proposer} | numbers)
    return pd.DataFrame(rows)


def gap_by_group(table: pd.DataFrame, first: str, second: str, n_boot: int = 1000) -> pd.DataFrame:
    """Oracle mIoU of one maker above another's, paired, on the groups of `reach_by_group`.

    Returns:
        Columns question, group, mean, low, high (above 0: the first reaches more), n.
    """
    rows = []
    for question, group, part in _groups(table):
        both = [part[part["proposer"] == name] for name in (first, second)]
        image = both[0]["image_id"].to_numpy(str)
        found = paired_difference(
            _pixels(both[0]), _pixels(both[1]), image, ("miou",), n_resamples=n_boot
        )["miou"]
        numbers = {"mean": found.value, "low": found.low, "high": found.high, "n": found.n}
        rows.append({"question": question, "group": group} | numbers)
    return pd.DataFrame(rows)


def reach_words(found: pd.DataFrame) -> list[str]:
    """What the makers of a `compare.summary` reach, and for how many masks and seconds."""
    lines = []
    for name, row in found.sort_values("oracle_miou", ascending=False).iterrows():
        lines.append(
            f"{name}: oracle mIoU {100 * row['oracle_miou']:.1f} %, oIoU "
            f"{100 * row['oracle_oiou']:.1f} %, a mask over IoU 0.5 for {row['recall@0.5']:.0%} of "
            f"the targets; {row['masks']:.0f} masks and {row['seconds']:.2f} s a picture."
        )
    return lines


def knob_words(table: pd.DataFrame) -> list[str]:
    """For each setting of a `settings_table`, what its values change most."""
    lines = []
    for setting, part in table.groupby("setting", sort=False):
        best, worst = (part.loc[part["oracle_miou"].agg(end)] for end in ("idxmax", "idxmin"))
        own = part.loc[part["own"], "value"].iloc[0]
        if best["oracle_miou"] - worst["oracle_miou"] < 0.0005:
            lines.append(f"{setting}: changes nothing between {', '.join(part['value'])}.")
            continue
        lines.append(
            f"{setting}: from {100 * worst['oracle_miou']:.1f} % at {worst['value']} "
            f"({worst['masks']:.0f} masks) to {100 * best['oracle_miou']:.1f} % at {best['value']} "
            f"({best['masks']:.0f} masks); the preset has {own}."
        )
    return lines


def gap_words(gaps: pd.DataFrame, first: str, second: str) -> list[str]:
    """Whether the second maker falls behind in the harder group of each question, in words."""
    lines = []
    for question, part in gaps.groupby("question", sort=False):
        if len(part) < 2 or question == "all":
            continue
        hard, easy = part.iloc[0], part.iloc[-1]
        apart = hard["low"] > easy["high"] or hard["high"] < easy["low"]
        more = "further" if hard["mean"] > easy["mean"] else "less"
        clear = "" if apart else "; the intervals overlap, so this is no clear difference"
        lines.append(
            f"{question}: {second} is behind {first} by {_points(hard)} where “{hard['group']}” "
            f"(n = {int(hard['n'])}) and by {_points(easy)} where “{easy['group']}” "
            f"(n = {int(easy['n'])}): {more} behind on the first{clear}."
        )
    return lines


def _points(row: pd.Series) -> str:
    low, high = 100 * row["low"], 100 * row["high"]
    return f"{100 * row['mean']:.1f} [{low:.1f}, {high:.1f}] points"


def _groups(table: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Question, group and rows; the harder group of each question first."""
    hidden, crowding, share = (table[name].to_numpy() for name in ("hidden", "crowding", "share"))
    members: list[tuple[str, str, NDArray[np.bool_]]] = [
        ("all", "all targets", np.ones(len(table), bool)),
        ("hidden", "10 % and more hidden", hidden >= 0.1),
        ("hidden", "less than 10 % hidden", hidden < 0.1),
        ("overlapping", f"others reach into {100 * CROWDED:g} % of its box", crowding >= CROWDED),
        ("overlapping", "they reach into less", crowding < CROWDED),
        ("size", f"under {100 * SMALL:g} % of the picture", share < SMALL),
        ("size", f"{100 * SMALL:g} to {100 * LARGE:g} %", (share >= SMALL) & (share < LARGE)),
        ("size", f"{100 * LARGE:g} % and more", share >= LARGE),
    ]
    return [(question, group, table[who]) for question, group, who in members if who.any()]


def _pixels(table: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    inter, union = (table[name].to_numpy(np.int64) for name in ("intersection_px", "union_px"))
    return inter, union
