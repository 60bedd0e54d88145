"""Write trained averages as the float16 weights that ship, each with a card that scores it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from making import scores
from making.blip2 import blip2_tokenizer, build_blip2, save_blip2
from making.freesolo import published_state
from making.loop import read_checkpoint
from making.pools import TRAINING
from making.tseg_pairs import frozen_clip
from making.tseg_scores import SCORE_IMAGES, score_table, val_pictures
from tasutils.baselines.tseg import TsegNet
from tasutils.checkpoints import load_strict, read_state_dict
from tasutils.errors import TasError
from tasutils.paths import WEIGHTS
from tasutils.tas import load

TINY = WEIGHTS / "tiny"
FILES = {
    "sam": "sam.safetensors",
    "tiny-RN": "clip_rn.safetensors",
    "tiny-ViT": "clip_vit.safetensors",
    "blip2": "blip2",
    "freesolo": "freesolo.safetensors",
    "tseg": "tseg.safetensors",
}
MADE_OF = {
    "sam": "segment-anything's `Sam`: prompt encoder and mask decoder of 64 channels on a hybrid"
    " encoder (convolutions to stride 16, three attention blocks, merged at stride 8), 256 px",
    "tiny-RN": "an open_clip model: `ModifiedResNet` of 224 px (7 x 7 grid), text tower of width"
    " 128 with 3 layers, own vocabulary of 1,714 entries, context 77",
    "tiny-ViT": "an open_clip model: ViT of 112 px, patch 16 (7 x 7 grid), width 160, 6 layers;"
    " the text tower is tiny-RN's, taken over as it was (locked-text tuning)",
    "blip2": "transformers' `Blip2ForConditionalGeneration`: vision tower of 112 px with 5 layers"
    " (it starts from tiny-ViT's first five), Q-Former of 2 layers with 8 queries, OPT of 2 layers",
    "freesolo": "the SOLOv2 of FreeSOLO with the published classes and keys in small widths: ResNet"
    " of 7 blocks, FPN, instance and mask head of 48 channels; pictures enter at 240 px (the branch"
    " of embeddings, on which no mask depends, is untrained)",
    "tseg": "TSEG's own parts (one transformer block over a 15 x 20 grid, a layer over a 30 x 40"
    ' one, a correction of the text, a token and a score for "no expression"). They ride on the two'
    " towers of `clip_rn.safetensors`, which stay as they are and are not in this file",
}
FACTS = {
    "sam": {
        "photographs": "from minute 75 on half of the scenes hold some of the 102 photographic"
        " cut-outs of the split train (seeds 2,000,000 and up, up to the whole picture, 40 % of"
        " them on a photographed texture); no cut-out of valP or testP, no photograph of photos7"
    },
    "freesolo": {
        "supervision": "no mask label of any picture: it learned from free masks, made of the dense"
        " features of EfficientNet-Lite2, which was itself trained with the class labels of"
        " ImageNet's photographs, and of merged superpixels, which learned nothing",
        "chosen by labels": "how free masks are made, on 14 to 24 training scenes; the loss, on"
        " 40 pictures of val",
    },
    "tseg": {
        "supervision of these parts": "pictures and sentences, without masks: of each picture the"
        " sentences written about it, and of any other sentence whether it names nothing in it, or"
        " names a thing of it in a colour that it has not; the generator that wrote the sentences,"
        " not the training, knows where things are",
        "supervision of the frozen towers": "tiny-RN learned from crops cut out with exact or"
        " spoilt masks, each beside its phrase: the features that TSEG starts from have seen masked"
        " things",
    },
}
PROPOSER_READING = (
    "oracle_miou: best proposal of the {} for each thing of the picture, mean over\nthings;"
    " recall_50: share of things with IoU 0.5."
)
CLIP_READING = (
    'seen / unseen: top-1 category of exactly masked crops (black fill) by "a NAME" over all\n'
    "319 names, for categories that training saw and for the 40 that it never did."
)
READING = {
    "sam": PROPOSER_READING.format("automatic generator (settings of preset `tiny`)"),
    "freesolo": PROPOSER_READING.format("network"),
    "blip2": "seen / unseen: share of exactly masked crops whose caption ends with the name.",
    "tiny-RN": CLIP_READING,
    "tiny-ViT": CLIP_READING,
    "tseg": f"""\
mIoU over the sentences of val's first pictures, and by family. `map T`: the map alone, cut at T,
the best threshold here. `chosen`: of the tiny SAM's proposals the one with the highest mean
activation; `random`: the mean over all of them; `oracle`: the best of them. The weights were chosen
on the first {SCORE_IMAGES} pictures, by the sum of the mIoUs of `chosen` and of the map; no weight
learned from a mask of val. That pictures enter at 480 px was confirmed on its first 60.

What it cannot learn: a sentence of a picture says that a thing is there, not where. "The dog on the
left" is as true of the mirrored picture, and pictures are mirrored in training; so left and right,
order, size among equals and relations move the map only through the nouns that come with them. Of
two dogs both light up. Words of unseen categories mean nothing to it.""",
}


def export(
    name: str, folder: Path | None = None, *, score_images: int | None = None, target: Path = TINY
) -> Path:
    """Write one model's averaged weights in float16 with its card; returns the card's path.

    Args:
        name: a key of `FILES`.
        folder: the training's checkpoint folder.
        score_images: how many val pictures to score; None is all of them (of tseg 100).
        target: where to; what is measured is always what ships.
    """
    folder = folder or TRAINING / name
    found = read_checkpoint(folder)
    if name not in FILES or not found:
        raise TasError(f"{folder}: no training of one of {', '.join(FILES)}")
    state = {k.removeprefix("module."): v for k, v in found["average"].items() if k != "n_averaged"}
    if name == "sam":
        state = {k.removeprefix("sam."): v for k, v in state.items() if k.startswith("sam.")}
    elif name == "freesolo":
        state = published_state(state)
    elif name == "tseg":
        state = torch.load(folder / "best.pt", weights_only=True)
    path = target / FILES[name]
    target.mkdir(parents=True, exist_ok=True)
    if name == "blip2":
        tokenizer = blip2_tokenizer()
        model = build_blip2(tokenizer)
        model.load_state_dict(state)
        save_blip2(model, tokenizer, path)
    else:
        part = path.with_name(f"{path.name}.part")
        save_file({key: _half(value) for key, value in state.items()}, part)
        part.chmod(0o644)  # safetensors makes files that nobody else may read
        os.replace(part, path)
    parameters = sum(value.numel() for value in state.values())
    card = target / f"{path.stem}.md"
    told = card_text(name, found["record"], parameters, measure(name, score_images))
    card.write_text(told, encoding="utf-8")
    return card


def _half(value: torch.Tensor) -> torch.Tensor:
    return value.half().contiguous() if value.dtype.is_floating_point else value.contiguous()


def measure(name: str, images: int | None = None) -> dict[str, dict[str, Any]]:
    """Scores of what ships, as presets load it: on val, of CLIP on the held-out style testS too."""
    if name == "tseg":
        return _measure_tseg(images or 100)
    tas = load("tiny", device="cpu")
    if name == "freesolo":
        data = {"kind": "freesolo", "size": "tiny", "checkpoint": f"tiny/{FILES[name]}"}
        tas = load(tas.preset.override({"proposals": data}), device="cpu")
    if name in ("sam", "freesolo"):
        return {"val": scores.mask_oracle(tas.proposer, "val", images)}
    if name == "blip2":
        fill = tas.preset.captioner.crop.fill
        return {"val": scores.caption_category(tas.captioner, "val", images, fill)}
    changes = {"encoder.model": name, "encoder.checkpoint": f"tiny/{FILES[name]}"}
    encoder = load(tas.preset.override(changes), device="cpu").encoder
    return {split: scores.category_top1(encoder, split, images) for split in ("val", "testS")}


def _measure_tseg(images: int) -> dict[str, dict[str, Any]]:
    net, pictures = load_tseg(), val_pictures(images, frozen_clip())
    found: dict[str, dict[str, Any]] = {}
    for first in (0, SCORE_IMAGES):
        if shown := pictures[first:]:
            table = score_table(net, shown).round(4)
            best = table["all"].filter(like="map").idxmax()
            for row in (best, "chosen", "random", "oracle"):
                found[f"val {first + 1}-{images}, {row}"] = dict(table.loc[str(row)])
    return found


def load_tseg() -> Any:
    """TSEG's own parts as they ship."""
    net = TsegNet().eval()
    load_strict(net, read_state_dict(TINY / FILES["tseg"]), FILES["tseg"])
    return net


def card_text(
    name: str, record: dict[str, Any], parameters: int, measured: dict[str, dict[str, Any]]
) -> str:
    """The card of a model: what it is, what it was trained on, for how long, how good it is."""
    rows = {
        "parameters": f"{parameters:,}, float16",
        "data": "RefScenes training scenes, drawn on the fly from seeds 1,000,000 and up: styles"
        " fluent and noto, 279 seen categories; no stored scene, no unseen category, no twemoji",
        **FACTS.get(name, {}),
        "seed": record["seed"],
        "images seen": f"{record['images']:,}",
        "time": f"{record['spent_s'] / 60:.0f} minutes on one thread of a machine with 2 CPU cores"
        " (bfloat16 autocast), shared with other work",
        "weights": "exponential moving average"
        + (", the best of those of every five minutes" if name == "tseg" else ""),
    }
    if "scenes" in record:
        rows["scenes"] = f"{record['scenes']:,}"
    for row, numbers in measured.items():
        rows[row] = ", ".join(f"{key} {value}" for key, value in numbers.items())
    table = "\n".join(f"| {key} | {text} |" for key, text in rows.items())
    return f"""# {FILES[name]}

A tiny model of the embedded world: {MADE_OF[name]}.

| what | |
|---|---|
{table}

{READING[name]}

Trained in the world it is tested in: on RefScenes nothing is zero-shot.
Licence: Apache-2.0, as the project's.
"""
