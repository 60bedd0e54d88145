"""Write trained averages as the float16 weights that ship, each with a card.

``python -m making.export sam tiny-RN tiny-ViT blip2 freesolo`` may be run again
after every training; it scores each model on val and writes ``data/weights/tiny``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from making.freesolo import published_state
from tasutils.paths import WEIGHTS
from tasutils.tas import load

TINY = WEIGHTS / "tiny"
TOKENIZER = TINY / "tokenizer.txt.gz"
FILES = {
    "sam": "sam.safetensors",
    "tiny-RN": "clip_rn.safetensors",
    "tiny-ViT": "clip_vit.safetensors",
    "blip2": "blip2",
    "freesolo": "freesolo.safetensors",
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
}

PHOTOGRAPHS = (
    "| photographs | from minute 75 on half of the scenes hold some of the 102 photographic"
    " cut-outs of the split train (seeds 2,000,000 and up, up to the whole picture, 40 % of them on"
    " a photographed texture); no cut-out of valP or testP, and no photograph of photos7 |",
)

UNLABELLED = (
    "| supervision | no mask label of any picture: it learned from free masks, made of the dense"
    " features of EfficientNet-Lite2, which was itself trained with the class labels of ImageNet's"
    " photographs, and of merged superpixels, which learned nothing |",
    "| chosen by labels | how free masks are made, on 14 to 24 training scenes; the loss, on"
    " 40 pictures of val |",
)


def export(name: str, folder: Path, *, score_images: int | None = None) -> Path:
    """Write one model's averaged weights in float16 with its card; returns the card's path.

    Args:
        name: a key of `FILES`.
        folder: the training's checkpoint folder.
        score_images: how many val pictures to score; None is all of them.
    """
    record: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    state = load_file(folder / "average.safetensors")
    target = TINY / FILES[name]
    TINY.mkdir(parents=True, exist_ok=True)
    if name == "blip2":
        _save_blip2(state, target)
    else:
        if name == "sam":
            state = {k.removeprefix("sam."): v for k, v in state.items() if k.startswith("sam.")}
        if name == "freesolo":
            state = published_state(state)
        part = target.with_name(target.name + ".part")
        save_file({key: _half(value) for key, value in state.items()}, part)
        part.chmod(0o644)  # safetensors makes files that nobody else may read
        os.replace(part, target)
    parameters = sum(value.numel() for value in state.values())
    card = TINY / f"{target.name.removesuffix('.safetensors')}.md"
    scores = measure(name, score_images)
    card.write_text(card_text(name, record, parameters, scores), encoding="utf-8")
    return card


def _half(value: torch.Tensor) -> torch.Tensor:
    return value.half().contiguous() if value.dtype.is_floating_point else value.contiguous()


def _save_blip2(state: dict[str, torch.Tensor], folder: Path) -> None:
    from making.blip2 import blip2_tokenizer, build_blip2, save_blip2

    tokenizer = blip2_tokenizer(TOKENIZER)
    model = build_blip2(tokenizer)
    model.load_state_dict(state)
    save_blip2(model, tokenizer, folder)
    for path in folder.iterdir():
        path.chmod(0o644)


def measure(name: str, images: int | None = None) -> dict[str, Any]:
    """Scores on val (and on testS, the held-out style, for CLIP), as preset ``tiny`` loads it."""
    from making import scores

    tas = load("tiny", device="cpu")
    if name == "freesolo":
        data = {"kind": "freesolo", "size": "tiny", "checkpoint": f"tiny/{FILES[name]}"}
        switched = load(tas.preset.override({"proposals": data}), device="cpu")
        return {"val": scores.mask_oracle(switched.proposer, "val", images)}
    if name == "sam":
        return {"val": scores.mask_oracle(tas.proposer, "val", images)}
    if name == "blip2":
        fill = tas.preset.captioner.crop.fill
        return {"val": scores.caption_category(tas.captioner, "val", images, fill)}
    changes = {"encoder.model": name, "encoder.checkpoint": f"tiny/{FILES[name]}"}
    encoder = load(tas.preset.override(changes), device="cpu").encoder
    return {split: scores.category_top1(encoder, split, images) for split in ("val", "testS")}


def card_text(name: str, record: dict[str, Any], parameters: int, scores: dict[str, Any]) -> str:
    """The card of a model: what it is, what it was trained on, for how long, how good it is."""
    lines = [
        f"# {FILES[name]}",
        "",
        f"A tiny model of the embedded world: {MADE_OF[name]}.",
        "",
        "| what | |",
        "|---|---|",
        f"| parameters | {parameters:,}, float16 |",
        "| data | RefScenes training scenes, drawn on the fly from seeds 1,000,000 and up: styles"
        " fluent and noto, 279 seen categories; no stored scene, no unseen category, no twemoji |",
        *(PHOTOGRAPHS if name == "sam" else ()),
        *(UNLABELLED if name == "freesolo" else ()),
        f"| seed | {record['seed']} |",
        f"| images seen | {record['images']:,} |",
        f"| time | {record['spent_s'] / 60:.0f} minutes on one thread of a machine with 2 CPU cores"
        " (bfloat16 autocast), shared with other work |",
        "| weights | exponential moving average |",
    ]
    lines += [f"| note | {note} |" for note in record.get("notes", ())]
    for split, numbers in scores.items():
        told = ", ".join(f"{key} {value}" for key, value in numbers.items())
        lines.append(f"| {split} | {told} |")
    lines += ["", *_reading(name), ""]
    lines.append("Trained in the world it is tested in: on RefScenes nothing is zero-shot.")
    lines.append("Licence: Apache-2.0, as the project's.")
    return "\n".join(lines) + "\n"


def _reading(name: str) -> list[str]:
    if name in ("sam", "freesolo"):
        made = "automatic generator (settings of preset `tiny`)" if name == "sam" else "network"
        return [
            f"oracle_miou: best proposal of the {made} for",
            "each thing of the picture, mean over things; recall_50: share of things with IoU 0.5.",
        ]
    if name == "blip2":
        return ["seen / unseen: share of exactly masked crops whose caption ends with the", "name."]
    return [
        'seen / unseen: top-1 category of exactly masked crops (black fill) by "a NAME" over all',
        "319 names, for categories that training saw and for the 40 that it never did.",
    ]
