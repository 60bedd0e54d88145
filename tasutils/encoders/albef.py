"""ALBEF's two towers, an adapter on timm's ViT and transformers' BERT."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasutils.checkpoints import load_strict, load_tokenizer, read_state_dict
from tasutils.compute import tune
from tasutils.config import PLAIN, ComputeConfig
from tasutils.crops import CLIP_MEAN_RGB, CLIP_STD_RGB
from tasutils.encoders import AlbefConfig, TowerEncoder, normaliser
from tasutils.errors import TasError
from tasutils.paths import weights_path

if TYPE_CHECKING:
    import torch

WORDS = 30  # of a text, and tokens too: configs/Retrieval_*.yaml and Retrieval.py of ALBEF
_PUNCTUATION = str.maketrans(dict.fromkeys(",.'!?\"()*#:;~", "") | {"-": " ", "/": " "})
_POSITIONS = "visual_encoder.pos_embed"
_TEXT_LAYER = re.compile(r"text_encoder\.encoder\.layer\.(\d{1,4})\.")
# what a published file holds beside the two towers; of its text tower see `read_albef`
_LEFT = (
    *("visual_encoder_m.", "text_encoder_m.", "vision_proj_m.", "text_proj_m."),
    *("temp", "itm_head.", "image_queue", "text_queue", "queue_ptr", "idx_queue"),
    *("text_encoder.cls.predictions.", "text_encoder.embeddings.position_ids"),
)


@dataclass(frozen=True)
class AlbefShape:
    """Sizes of ALBEF's parts; the published ones (github.com/salesforce/ALBEF, configs)."""

    width: int = 768
    heads: int = 12
    patch_px: int = 16
    image_layers: int = 12
    fusion_layer: int = 6  # the first text layer that also looks at the image
    vocabulary: int = 30522
    positions: int = 512
    dim: int = 256


PUBLISHED = AlbefShape()


class AlbefEncoder(TowerEncoder):
    """ALBEF before its fusion (Li et al., arXiv 2107.07651).

    The CLS tokens of the image tower and of the text tower's first six layers, each projected.
    """

    def __init__(
        self, config: AlbefConfig, device: str = "cpu", compute: ComputeConfig = PLAIN,
        shape: AlbefShape = PUBLISHED,
    ) -> None:  # fmt: skip
        super().__init__("ALBEF", device, compute)
        self.config, self.context_length = config, WORDS
        self.image_size, self.dim = config.image_size, shape.dim
        self.tokenizer = _load_tokenizer(config.tokenizer, shape.vocabulary)
        model = build_albef(config.image_size, shape)
        state = read_albef(weights_path(config.checkpoint), config.image_size, shape)
        load_strict(model, state, config.checkpoint)
        self.model = model.eval().to(device)
        tune(model["visual_encoder"], compute)
        self.pixel_values = normaliser(CLIP_MEAN_RGB, CLIP_STD_RGB, device)

    def n_tokens(self, text: str) -> int:
        """How many tokens the whole text has, begin and end included."""
        return len(self.tokenizer(plain_words(text, len(text))).input_ids)

    def _tokens(self, crops: torch.Tensor) -> torch.Tensor:
        """CLS and patches after the final norm, projected: (n, 1 + h * w, dim)."""
        tokens = self.model["visual_encoder"].forward_features(self.pixel_values(crops))
        return self.model["vision_proj"](tokens)

    def _embed_images(self, crops: torch.Tensor) -> torch.Tensor:
        return self._tokens(crops)[:, 0]

    def _embed_places(self, crops: torch.Tensor) -> torch.Tensor:
        grid = self.model["visual_encoder"].patch_embed.grid_size  # (h, w)
        return self._tokens(crops)[:, 1:].unflatten(1, grid)

    def _embed_texts(self, texts: list[str]) -> torch.Tensor:
        tokens = self.tokenizer(
            [plain_words(text) for text in texts],
            padding="max_length", truncation=True, max_length=WORDS, return_tensors="pt",
        ).to(self.device)  # fmt: skip
        states = self.model["text_encoder"](tokens.input_ids, tokens.attention_mask)
        return self.model["text_proj"](states.last_hidden_state[:, 0])


def plain_words(text: str, most: int = WORDS) -> str:
    """A text as ALBEF reads it: lower-cased, no punctuation, 30 words (its dataset/utils.py).

    Hyphens and slashes part words; marks that it does not list, such as "&", stay.

    >>> plain_words("The man's T-shirt, (red & blue)!")
    'the mans t shirt red & blue'
    """
    plain = text.lower().translate(_PUNCTUATION).replace("<person>", "person")
    return " ".join(plain.split()[:most])


def build_albef(image_size: int, shape: AlbefShape = PUBLISHED) -> Any:
    """timm's ViT, transformers' BERT up to its fusion and the projections; random weights."""
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn
    from transformers import BertConfig, BertModel

    image = VisionTransformer(
        img_size=image_size, patch_size=shape.patch_px, embed_dim=shape.width,
        depth=shape.image_layers, num_heads=shape.heads, num_classes=0,
    )  # fmt: skip
    words = BertConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.width, num_attention_heads=shape.heads,
        num_hidden_layers=shape.fusion_layer, intermediate_size=4 * shape.width,
        max_position_embeddings=shape.positions,
    )  # fmt: skip
    text = BertModel(words, add_pooling_layer=False)
    of_image, of_text = (nn.Linear(shape.width, shape.dim) for _ in range(2))
    parts = {"visual_encoder": image, "text_encoder": text}
    return nn.ModuleDict(parts | {"vision_proj": of_image, "text_proj": of_text})


def read_albef(
    path: Path, image_size: int, shape: AlbefShape = PUBLISHED
) -> dict[str, torch.Tensor]:
    """What the encoder needs of a published file, its positions resized to `image_size` px.

    Pre-training files (ALBEF.pth) name the text tower `text_encoder.bert.`. Keys that no published
    file has stay, to be refused.
    """
    from timm.layers import resample_abs_pos_embed

    plain = {k.replace("_encoder.bert.", "_encoder."): v for k, v in read_state_dict(path).items()}
    needed = {}
    for key, value in plain.items():
        layer = _TEXT_LAYER.match(key)
        if not key.startswith(_LEFT) and not (layer and int(layer[1]) >= shape.fusion_layer):
            needed[key] = value
    positions, side = needed.get(_POSITIONS), image_size // shape.patch_px
    n_places = positions.shape[1] - 1 if positions is not None and positions.ndim == 3 else 0
    if positions is not None and n_places > 0 and isqrt(n_places) ** 2 == n_places:
        needed[_POSITIONS] = resample_abs_pos_embed(positions, [side, side], antialias=False)
    return needed  # positions of another form are to be refused


def _load_tokenizer(name: str, vocabulary: int) -> Any:
    from transformers import BertTokenizer

    folder, remedy = weights_path(name), "put bert-base-uncased's files there"
    if not folder.is_dir():
        raise TasError(f"no tokenizer folder at {folder}; {remedy}")
    tokenizer = load_tokenizer(folder, "BERT", BertTokenizer)
    if (n := len(tokenizer)) != vocabulary:
        raise TasError(f"the tokenizer in {folder} has {n} entries, ALBEF's {vocabulary}; {remedy}")
    return tokenizer
