"""Write the trained TSEG as the float16 weights that ship, with their card.

``python -m making.tseg_export`` may be run again after every training.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from making.tseg import FOLDER, SCORE_IMAGES
from making.tseg_pairs import PAIRS, PairStore, frozen_clip
from making.tseg_scores import FAMILIES, ValPicture, score_table, val_pictures
from tasutils.baselines.tseg import TsegNet
from tasutils.checkpoints import load_strict
from tasutils.paths import WEIGHTS

TARGET = WEIGHTS / "tiny" / "tseg.safetensors"
CARD = """# tseg.safetensors

A tiny model of the embedded world: TSEG's own parts (one transformer block over a 15 x 20 grid, a
layer over a 30 x 40 one, a correction of the text, a token and a score for "no expression"). They
ride on the two towers of `clip_rn.safetensors`, which stay as they are and are not in this file.

| what | |
|---|---|
{rows}

mIoU over the sentences of val's first pictures, and by family. `map T`: the map alone, cut at T,
the best threshold here. `chosen`: of the tiny SAM's proposals the one with the highest mean
activation; `random`: the mean over all of them; `oracle`: the best of them. The weights were chosen
on the first {watched} pictures, by the sum of the mIoUs of `chosen` and of the map; no weight
learned from a mask of val. That pictures enter at 480 px was confirmed on its first 60.

What it cannot learn: a sentence of a picture says that a thing is there, not where. "The dog on the
left" is as true of the mirrored picture, and pictures are mirrored in training; so left and right,
order, size among equals and relations move the map only through the nouns that come with them. Of
two dogs both light up. Words of unseen categories mean nothing to it.

Trained in the world it is tested in: on RefScenes nothing is zero-shot.
Licence: Apache-2.0, as the project's.
"""
FACTS = {
    "parameters": "{parameters:,}, float16",
    "data": "{scenes:,} RefScenes training scenes, of seeds 1,000,000 and up: styles fluent and"
    " noto, 279 seen categories; no stored scene, no unseen category, no twemoji",
    "supervision of these parts": "pictures and sentences, without masks: of each picture the"
    " sentences written about it, and of any other sentence whether it names nothing in it, or"
    " names a thing of it in a colour that it has not; the generator that wrote the sentences, not"
    " the training, knows where things are",
    "supervision of the frozen towers": "tiny-RN learned from crops cut out with exact or spoilt"
    " masks, each beside its phrase: the features that TSEG starts from have seen masked things",
    "seed": "{seed}",
    "images seen": "{images:,}",
    "time": "{minutes:.0f} minutes on one thread of a machine with 2 CPU cores (bfloat16 autocast),"
    " shared with much other work",
    "weights": "exponential moving average, the best of those of every five minutes",
}


def _rows(net: TsegNet, pictures: list[ValPicture]) -> dict[str, str]:
    table = score_table(net, pictures)
    best = max((row for row in table if row.startswith("map")), key=lambda row: table[row]["all"])
    return {
        row: f"{table[row]['all']:.4f}; {', '.join(f'{f} {table[row][f]:.4f}' for f in FAMILIES)}"
        for row in (best, "chosen", "random", "oracle")
    }


def export_tseg(folder: Path = FOLDER, pictures: int = 100) -> Path:
    """Write ``best.safetensors`` of a training as the weights that ship; returns the card's path.

    Args:
        folder: a training's checkpoint folder.
        pictures: of val, to score.
    """
    record: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    state = {key: value.half() for key, value in load_file(folder / "best.safetensors").items()}
    net = TsegNet()
    load_strict(net, state, "best.safetensors")
    part = TARGET.with_name(TARGET.name + ".part")
    save_file({key: value.contiguous() for key, value in state.items()}, part)
    part.chmod(0o644)  # safetensors makes files that nobody else may read
    os.replace(part, TARGET)
    facts = {
        "parameters": sum(value.numel() for value in state.values()),
        "scenes": len(PairStore(PAIRS)),
        "minutes": record["spent_s"] / 60,
        "seed": record["seed"],
        "images": record["images"],
    }
    told = {key: text.format(**facts) for key, text in FACTS.items()}
    if notes := record.get("notes"):
        told["note"] = "; ".join(notes)
    shown = val_pictures(pictures, frozen_clip())
    spans = {f"val 1-{pictures}": shown, f"val {SCORE_IMAGES + 1}-{pictures}": shown[SCORE_IMAGES:]}
    for span, part_of in spans.items():
        if part_of:
            told |= {f"{span}, {row}": text for row, text in _rows(net.eval(), part_of).items()}
    card = TARGET.with_suffix(".md")
    rows = "\n".join(f"| {key} | {text} |" for key, text in told.items())
    card.write_text(CARD.format(rows=rows, watched=SCORE_IMAGES), encoding="utf-8")
    return card
