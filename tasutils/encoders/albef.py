"""ALBEF's two towers, an adapter on timm's ViT and transformers' BERT."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.checkpoints import load_strict
from tasutils.compute import FEWEST, Batches, tune, unit_rows
from tasutils.config import PLAIN, ComputeConfig
from tasutils.crops import CLIP_MEAN_RGB, CLIP_STD_RGB
from tasutils.encoders.albef_file import (
    PUBLISHED,
    AlbefShape,
    build_image_tower,
    build_text_tower,
    read_albef,
)
from tasutils.encoders.settings import AlbefConfig
from tasutils.errors import TasError
from tasutils.paths import weights_path
from tasutils.pretrained import load_tokenizer

if TYPE_CHECKING:
    import torch

WORDS = 30  # of a text, and tokens too: configs/Retrieval_*.yaml and Retrieval.py of ALBEF
_PUNCTUATION = str.maketrans(dict.fromkeys(",.'!?\"()*#:;~", "") | {"-": " ", "/": " "})


class AlbefEncoder:
    """ALBEF before its fusion (Li et al., arXiv 2107.07651) as `DenseEncoder`.

    The CLS tokens of the image tower and of the text tower's first six layers, each projected.

    Args:
        config: file of the weights, folder of BERT's tokenizer, side of the pictures in px.
        device: "cpu", "cuda", ...
        compute: precision, memory layout, compilation, crops and texts at a time.
        shape: sizes of the parts, the published ones unless a test wants less.

    Raises TasError when a file is missing, damaged or of another model.
    """

    def __init__(
        self,
        config: AlbefConfig,
        device: str = "cpu",
        compute: ComputeConfig = PLAIN,
        shape: AlbefShape = PUBLISHED,
    ) -> None:
        import torch

        self.config = config
        self.device = device
        self.crop_batches = Batches("ALBEF", compute.crop_batch, device, compute.precision)
        self.text_batches = Batches("ALBEF", compute.text_batch, device, compute.precision)
        self.image_size = config.image_size
        self.dim = shape.dim
        self.tokenizer = _load_tokenizer(config.tokenizer, shape.vocabulary)
        model = build_albef(config.image_size, shape)
        state = read_albef(weights_path(config.checkpoint), config.image_size, shape)
        load_strict(model, state, config.checkpoint)
        self.model = model.eval().to(device)
        tune(model["visual_encoder"], compute)
        self._mean = torch.tensor(CLIP_MEAN_RGB, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(CLIP_STD_RGB, device=device).view(1, 3, 1, 1)

    def encode_images(self, crops: "torch.Tensor") -> NDArray[np.float32]:
        """Float32 (n, 3, image_size, image_size) RGB in 0..1 -> float32 (n, dim), L2-normalised."""
        return unit_rows(
            crops, lambda c: self._tokens(c)[:, 0], self.crop_batches, self.dim, FEWEST
        )

    def encode_dense(self, crops: "torch.Tensor") -> NDArray[np.float32]:
        """As encode_images, but (n, h, w, dim): each patch token projected as the CLS token is."""
        if len(crops) == 0:
            return self.encode_dense(crops.new_zeros((1, *crops.shape[1:])))[:0]
        grid = self.model["visual_encoder"].patch_embed.grid_size  # (h, w)
        return unit_rows(
            crops,
            lambda c: self._tokens(c)[:, 1:].unflatten(1, grid),
            self.crop_batches,
            self.dim,
        )

    def encode_text(self, texts: list[str]) -> NDArray[np.float32]:
        """n texts, see `plain_words` -> float32 (n, dim), L2-normalised; cut at 30 tokens."""
        return unit_rows(texts, self._embed_text, self.text_batches, self.dim)

    def pixel_values(self, crops: "torch.Tensor") -> "torch.Tensor":
        """What the network sees of crops."""
        return (crops.to(self.device, self._mean.dtype) - self._mean) / self._std

    def _tokens(self, crops: "torch.Tensor") -> "torch.Tensor":
        """CLS and patches after the final norm, projected: (n, 1 + h * w, dim)."""
        tokens = self.model["visual_encoder"].forward_features(self.pixel_values(crops))
        return self.model["vision_proj"](tokens)

    def _embed_text(self, texts: list[str]) -> "torch.Tensor":
        tokens = self.tokenizer(
            [plain_words(text) for text in texts],
            padding="max_length",
            truncation=True,
            max_length=WORDS,
            return_tensors="pt",
        ).to(self.device)
        states = self.model["text_encoder"](tokens.input_ids, tokens.attention_mask)
        return self.model["text_proj"](states.last_hidden_state[:, 0])


def plain_words(text: str) -> str:
    """A text as ALBEF reads it: lower-cased, no punctuation, 30 words (its dataset/utils.py).

    Hyphens and slashes part words; marks that it does not list, such as "&", stay.

    >>> plain_words("The man's T-shirt, (red & blue)!")
    'the mans t shirt red & blue'
    """
    plain = text.lower().translate(_PUNCTUATION).replace("<person>", "person")
    return " ".join(plain.split()[:WORDS])


def build_albef(image_size: int, shape: AlbefShape = PUBLISHED) -> Any:
    """The parts of ALBEF that make embeddings, random weights; keys are the retrieval file's."""
    from torch import nn

    return nn.ModuleDict(
        {
            "visual_encoder": build_image_tower(shape, image_size),
            "text_encoder": build_text_tower(shape, shape.fusion_layer),
            "vision_proj": nn.Linear(shape.width, shape.dim),
            "text_proj": nn.Linear(shape.width, shape.dim),
        }
    )


def _load_tokenizer(name: str, vocabulary: int) -> Any:
    from transformers import BertTokenizer

    folder = weights_path(name)
    if not folder.is_dir():
        raise TasError(f"no tokenizer folder at {folder}; put bert-base-uncased's files there")
    tokenizer = load_tokenizer(folder, "BERT", BertTokenizer)
    if len(tokenizer) != vocabulary:
        raise TasError(
            f"the tokenizer in {folder} has {len(tokenizer)} entries, ALBEF's {vocabulary}; "
            "put bert-base-uncased's files there"
        )
    return tokenizer
