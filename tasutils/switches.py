"""From the article to its released code, one switch at a time.

The presets `paper` and `official` differ in named settings, each with its reason. Here each of them
is flipped alone in a preset of one's own, and the same sentences are answered again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tasutils.config import load_preset
from tasutils.errors import TasError
from tasutils.newest import part_of
from tasutils.stats import paired_difference
from tasutils.study import Part, Pixels

if TYPE_CHECKING:
    from tasutils.config import Preset
    from tasutils.tas import TAS

_TOGETHER = {
    "captioner.crop.geometry": "crop.geometry",
    "captioner.crop.resize": "crop.resize",
    "terms.n.weight.default": "terms.n.weight",
}
ALL = "all of them"


def switches(preset: Preset) -> dict[str, dict[str, Any]]:
    """What turns a preset made by the article's rules towards the released code's, by switch.

    Args:
        preset: whose settings are changed. Settings that belong together are one switch; one that
            the preset has as the released code does already changes nothing.

    Returns:
        Changes as `Preset.override` takes them. The released lambda holds for every data set.
    """
    one, other = (load_preset(name).leaves() for name in ("paper", "official"))
    changes: dict[str, dict[str, Any]] = {}
    for field, value in other.items():
        if value == one.get(field):
            continue
        name = _TOGETHER.get(field, field)
        if field.startswith("terms.n.weight."):
            continue
        changes.setdefault(name, {})[field] = value
    released = other["terms.n.weight.default"]
    known = [name for name in preset.leaves() if name.startswith("terms.n.weight.")]
    changes["terms.n.weight"] = dict.fromkeys(known, released)
    return changes


def switch_effects(
    part: Part, tas: TAS, limit: int, n_boot: int = 1000, results: Path | str = ""
) -> pd.DataFrame:
    """What each switch changes in the answers to a split's first pictures, alone and all together.

    Args:
        part: a run of the preset over at least these pictures.
        tas: that preset at work; its networks serve all switches that they can.
        limit: pictures.
        n_boot: bootstrap resamples of images.
        results: where scenes lie, and in its folder `switches` the runs; see `newest.part_of`.

    Returns:
        Columns switch, value, changed (share of the sentences with another mask), mean, low, high
        (change of mIoU, paired, above 0 where the switch helps), n, and missing: why a switch was
        not flipped, with no numbers beside it.
    """
    data = f"{part.family} {part.split}".strip()
    found: list[dict[str, Any]] = []
    together: dict[str, Any] = {}
    for name, changes in switches(tas.preset).items():
        row: dict[str, Any] = {"switch": name, "value": str(next(iter(changes.values())))}
        if tas.preset.override(changes).digest() == tas.preset.digest():
            found.append(row | {"missing": "the preset has it so already"})
            continue
        try:
            found.append(row | _effect(part, tas, changes, data, limit, n_boot, results))
            together |= changes
        except TasError as error:
            found.append(row | {"missing": str(error)})
    row = {"switch": ALL, "value": "released"}
    found.append(row | _effect(part, tas, together, data, limit, n_boot, results))
    return pd.DataFrame(found).fillna({"missing": ""})


def _effect(
    part: Part,
    tas: TAS,
    changes: dict[str, Any],
    data: str,
    limit: int,
    n_boot: int,
    results: Path | str,
) -> dict[str, Any]:
    """One switch flipped: the answers that differ, and the change of mIoU."""
    changed = part_of(data, _with(tas, changes), limit, results, aside="switches")
    before, after = part.samples, changed.samples
    ids = list(dict.fromkeys(before["image_id"]))[:limit]
    before, after = (table[table["image_id"].isin(ids)] for table in (before, after))
    images = before["image_id"].to_numpy(str)
    gain = paired_difference(
        _pixels(after), _pixels(before), images, ("miou",), n_resamples=n_boot
    )["miou"]
    other = (before["chosen"].to_numpy() != after["chosen"].to_numpy()).mean()
    numbers = {"mean": gain.value, "low": gain.low, "high": gain.high, "n": gain.n}
    return {"changed": float(other)} | numbers


def _pixels(samples: pd.DataFrame) -> Pixels:
    inter, union = (samples[name].to_numpy(np.int64) for name in ("intersection_px", "union_px"))
    return inter, union


def _with(tas: TAS, changes: dict[str, Any]) -> TAS:
    """The preset with some settings changed, by the same networks."""
    from tasutils.tas import TAS

    preset = tas.preset.override(changes)
    same = preset.language.spacy_model == tas.preset.language.spacy_model
    language = tas.language if same else None
    return TAS(preset, tas.proposer, tas.encoder, tas.captioner, language, tas.device)


def switch_words(table: pd.DataFrame) -> list[str]:
    """The switches that clearly change mIoU, those that change no answer, and those not flipped."""
    flipped = table[table["missing"] == ""]
    lines = []
    for _, row in flipped[(flipped["low"] > 0) | (flipped["high"] < 0)].iterrows():
        ends = f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
        lines.append(
            f"{row['switch']} as released: {100 * row['mean']:+.1f} {ends} points of mIoU, another "
            f"mask for {row['changed']:.0%} of {int(row['n'])} sentences."
        )
    idle = flipped.loc[flipped["changed"] == 0, "switch"].tolist()
    if idle:
        lines.append(f"Without any effect on these answers: {', '.join(idle)}.")
    lines += [f"{r['switch']}: not flipped, {r['missing']}." for _, r in
              table[table["missing"] != ""].iterrows()]  # fmt: skip
    return lines
