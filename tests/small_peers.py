"""Two small random CLIPs of open_clip, and a scene of masks, for the tests of the peer methods."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from tasutils.baselines import METHODS, lacking
from tasutils.config import ComputeConfig, load_preset
from tasutils.encoders import EncoderConfig
from tasutils.encoders.openclip import OpenClipEncoder
from tasutils.language.parse import Parser
from tasutils.refer import parse_expression
from tasutils.scene import Proposals, Scene
from tasutils.tas import TAS

TINY = load_preset("tiny")
# TSEG, and what needs weights that are not here, have tests of their own
NAMES = [name for name in METHODS if name != "tseg" and not lacking(name)]
PEERS = [name for name in NAMES if name not in {"tas", "clip_only", "text_only"}]
TEXT = {"context_length": 77, "vocab_size": 1714, "width": 16, "heads": 2, "layers": 1}
VIT = {"image_size": 32, "layers": 4, "width": 32, "head_width": 16, "patch_size": 8}
VIT |= {"ls_init_value": 0.5}
RESNET = {"image_size": 96, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32}
RESNET |= {"patch_size": None}
TOWERS = {"vit": VIT, "resnet": RESNET}


@cache
def small_clip(kind):
    """An encoder with a random tower, "vit" (grid of 4 x 4) or "resnet" (grid of 3 x 3)."""
    import open_clip

    name, model = f"peers-{kind}", {"embed_dim": 24, "vision_cfg": TOWERS[kind], "text_cfg": TEXT}
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.json"
        path.write_text(json.dumps(model))
        open_clip.add_model_config(path)
    config = EncoderConfig(model=name, tokenizer="tiny/tokenizer.txt.gz", template="a {}")
    torch.manual_seed(0)
    encoder = OpenClipEncoder(config, compute=ComputeConfig(crop_batch=3, text_batch=3))
    for key, value in encoder.model.state_dict().items():
        if value.is_floating_point() and "text" not in key and value.ndim:
            _enliven(key, value)
    return encoder


def _enliven(key, value):
    """Random weights large enough for what the network says to depend on the picture."""
    if key.endswith("running_var"):
        value.uniform_(0.5, 1.5)
    elif value.ndim > 1:
        value.normal_(0, value[0].numel() ** -0.5 * (3 if "attnpool" in key else 1.5))
    elif ".bn" in key or ".ln_" in key or "gamma" in key:
        value.add_(0.2 * torch.randn_like(value)) if value.any() else value.uniform_(0.5, 1.0)
    else:
        value.normal_(0, 0.3)


def scene_of(masks):
    """A scene with nothing but proposals."""
    none = np.zeros((len(masks), 0), np.float32)
    empty = [""] * len(masks)
    return Scene(
        "", masks.shape[1:], Proposals.from_masks(masks), none, empty, empty, none, "", "", [],
        none[:0], {}, "",
    )  # fmt: skip


def expression(text="the red car on the left"):
    return parse_expression(text, Parser())


SENTENCES = [expression(text) for text in ("the red car on the left", "a dog", "green bottle")]


def random_masks(rng, n, size_hw):
    """Bool (n, H, W): boxes and discs of all sizes, none empty."""
    height, width = size_hw
    y, x = np.mgrid[:height, :width]
    masks = []
    for number in range(n):
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        ry, rx = rng.uniform(2, height / 2), rng.uniform(2, width / 2)
        box = (abs(y - cy) <= ry) & (abs(x - cx) <= rx)
        masks.append(box if number % 2 else ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1)
    return np.stack(masks)


def small_tas(**parts):
    """TAS with two small random encoders and no proposer or captioner."""
    tas = TAS(TINY, encoder=small_clip("vit"), language=Parser(), device="cpu")
    tas.__dict__["peer_encoder"] = small_clip("resnet")
    tas.__dict__.update(parts)
    return tas


def full_scene(rng, masks):
    """A scene with embeddings at random, a caption without words among them."""
    rows = rng.normal(size=(2, len(masks), 24)).astype(np.float32)
    rows[1, :1] = 0
    phrases = ["a dog", "the car"]
    return replace(
        scene_of(masks),
        views={"crop": rows[0]},
        caption_embeddings=rows[1],
        phrases=phrases,
        phrase_embeddings=small_clip("vit").encode_text(phrases),
    )
