"""Write trained averages as the float16 weights that ship, and score each anew in its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from making import scores
from making.captioner import blip2_tokenizer, build_blip2, save_blip2
from making.freesolo import published_state
from making.loop import read_checkpoint
from making.pools import TRAINING
from making.tseg import SCORE_IMAGES, frozen_clip, score_table, val_pictures
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


def export(
    name: str, folder: Path | None = None, *, score_images: int | None = None, target: Path = TINY
) -> Path:
    """Write one model's averaged weights in float16 with its card; returns the card's path.

    Args:
        name: a key of `FILES`; ``folder``: the training's.
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
        floats = {key for key, value in state.items() if value.is_floating_point()}
        save_file(
            {k: (v.half() if k in floats else v).contiguous() for k, v in state.items()}, path
        )
        path.chmod(0o644)  # safetensors makes files that nobody else may read
    parameters = sum(value.numel() for value in state.values())
    card = target / f"{path.stem}.md"
    told = card_text(name, found["record"], parameters, measure(name, score_images))
    card.write_text(told, encoding="utf-8")
    return card


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
    for first in range(0, min(images, SCORE_IMAGES + 1), SCORE_IMAGES):
        table = score_table(net, pictures[first:]).round(4)
        best = str(table["all"].filter(like="map").idxmax())
        for row in (best, "chosen", "random", "oracle"):
            found[f"val {first + 1}-{images}, {row}"] = dict(table.loc[row])
    return found


def load_tseg() -> Any:
    """TSEG's own parts as they ship."""
    net = TsegNet().eval()
    load_strict(net, read_state_dict(TINY / FILES["tseg"]), FILES["tseg"])
    return net


def card_text(
    name: str, record: dict[str, Any], parameters: int, measured: dict[str, dict[str, Any]]
) -> str:
    """The card that ships with its numbers made anew; what it says of an earlier training goes."""
    rows = {
        "parameters": f"{parameters:,}, float16",
        "seed": record["seed"],
        "images seen": f"{record['images']:,}",
        "time": f"{record['spent_s'] / 60:.0f} minutes on one thread of a machine with 2 CPU cores"
        " (bfloat16 autocast), shared with other work",
    }
    for row, numbers in measured.items():
        rows[row] = ", ".join(f"{key} {value}" for key, value in numbers.items())
    lines: list[str] = []
    for line in (TINY / f"{Path(FILES[name]).stem}.md").read_text(encoding="utf-8").splitlines():
        key = line.split("|")[1].strip() if line.startswith("| ") else ""
        if key in rows:
            lines.append(f"| {key} | {rows.pop(key)} |")
        elif not key.startswith(("note", "val", "testS")):
            lines.append(line)
    end = max(index for index, line in enumerate(lines) if line.startswith("| ")) + 1
    lines[end:end] = [f"| {key} | {value} |" for key, value in rows.items()]
    return "\n".join([*lines, ""])
