"""CLIP through open_clip: the published models and our tiny ones, by the same code."""

from __future__ import annotations

import gzip
import logging
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.checkpoints import load_strict, load_tokenizer, quiet_transformers, read_state_dict
from tasutils.compute import tune
from tasutils.config import PLAIN, ComputeConfig
from tasutils.encoders import EncoderConfig, TowerEncoder, normaliser, rows_by_length
from tasutils.errors import TasError
from tasutils.paths import weights_path

if TYPE_CHECKING:
    import torch

_CONFIGS = Path(__file__).parent / "configs"
_CLIP_VOCABULARY = 49408  # entries of CLIP's own tokenizer
_MAX_BYTES = 1 << 23  # of a file of merges, unpacked; CLIP's own are 3 MB


class OpenClipEncoder(TowerEncoder):
    """A model of open_clip; without a checkpoint its weights are random."""

    def __init__(
        self, config: EncoderConfig, device: str = "cpu", compute: ComputeConfig = PLAIN
    ) -> None:
        import torch

        super().__init__("CLIP", device, compute)
        self.config = config
        model = build_clip(config.model)
        if config.checkpoint is not None:
            load_strict(model, read_state_dict(weights_path(config.checkpoint)), config.checkpoint)
        self.model = model.eval().to(device)
        tune(model.visual, compute)
        self.tokenize: Any = _tokenizer(config)
        side = model.visual.image_size
        self.context_length = int(model.context_length)
        self.logit_scale = float(model.logit_scale.detach().exp())
        self.image_size = int(side[0] if isinstance(side, tuple | list) else side)
        self.pixel_values = normaliser(model.visual.image_mean, model.visual.image_std, device)
        # CLIP's own text tower; its end token is its last by number
        masked = getattr(model, "attn_mask", None) is not None and model.text_pool_type == "argmax"
        self._causal = masked and isinstance(model.text_projection, torch.Tensor)
        self.dim = int(self._embed_tokens(self.tokenize([""])).shape[1])

    def encode_text(self, texts: list[str]) -> NDArray[np.float32]:
        """n texts as they stand -> float32 (n, dim), L2-normalised; cut at the model's context."""
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        tokens = self.tokenize(texts)  # (n, context)
        n_used = tokens.argmax(dim=-1) + 1 if self._causal else tokens.new_tensor(tokens.shape[1:])
        return rows_by_length(
            n_used.expand(len(texts)).numpy(),
            lambda length, some: self._embed_tokens(tokens[some, :length]),
            self.text_batches, self.dim,
        )  # fmt: skip

    def n_tokens(self, text: str) -> int:
        """How many tokens the whole text has, begin and end included."""
        if own := getattr(self.tokenize, "tokenizer", None):  # of transformers
            return len(own(self.tokenize.clean_fn(text)).input_ids)
        return len(self.tokenize.encode(text)) + 2

    def _embed_images(self, crops: torch.Tensor) -> torch.Tensor:
        return self.model.encode_image(self.pixel_values(crops))

    def _embed_places(self, crops: torch.Tensor) -> torch.Tensor:
        return place_features(self.model.visual, self.pixel_values(crops))

    def _embed_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens.to(self.device)
        return causal_text(self.model, tokens) if self._causal else self.model.encode_text(tokens)


def place_features(visual: Any, pixels: torch.Tensor) -> torch.Tensor:
    """The last feature map of an image tower, each place projected alone: (n, h, w, dim).

    ViT (CLIP): the last block's patch tokens through ln_post and the projection. ResNet (CLIP):
    layer4 through attnpool's v_proj and c_proj, each place attending to itself alone (MaskCLIP,
    Zhou et al., arXiv 2112.01071). SigLIP: its pool sees one token at a time.
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    pool = getattr(visual.trunk, "attn_pool", None) if isinstance(visual, TimmModel) else None
    plain_vit = isinstance(visual, VisionTransformer) and visual.attn_pool is None
    resnet = isinstance(visual, ModifiedResNet)
    if not (resnet or plain_vit or (pool is not None and pool.pos_embed is None)):
        tower = f"the image tower {type(visual).__name__} of this CLIP model"
        raise TasError(
            f"{tower} has no dense features here; choose CLIP's ViT or ResNet, or SigLIP"
        )
    found = visual.forward_intermediates(
        pixels, indices=1, normalize_intermediates=True, intermediates_only=True
    )
    places: torch.Tensor = found["image_intermediates"][-1].permute(0, 2, 3, 1)  # (n, h, w, width)
    if resnet:
        projected = visual.attnpool.c_proj(visual.attnpool.v_proj(places))
    elif plain_vit:
        projected = places @ visual.proj
    else:
        alone = visual.trunk.forward_head(places.flatten(0, 2)[:, None])
        projected = visual.head(alone).unflatten(0, places.shape[:3])
    return projected  # type: ignore[no-any-return]


def causal_text(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """encode_text (n, d) of open_clip for tokens (n, t), cut after the last end token or not."""
    from open_clip.transformer import text_global_pool

    n_used = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:n_used]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:n_used, :n_used]))
    # before the pooling: a product with few rows is rounded in another way than one with many
    return text_global_pool(x @ model.text_projection, tokens, model.text_pool_type)


@cache
def _open_clip() -> Any:
    """The library, to which our configurations are known."""
    import open_clip

    open_clip.add_model_config(_CONFIGS)
    return open_clip


def _text_config(name: str) -> dict[str, Any]:
    config = None if ":" in name else _open_clip().get_model_config(name)
    if config is None:
        raise TasError(f"unknown CLIP model {name!r}; see open_clip.list_models()")
    return config["text_cfg"]  # type: ignore[no-any-return]


def build_clip(name: str) -> Any:
    """An open_clip model with random weights, ours (`configs/*.json`) or open_clip's, on the CPU.

    Its image statistics are those of the first weights listed for the name.
    """
    if "hf_model_name" in _text_config(name):
        raise TasError(f"CLIP model {name!r} needs files from the hub; choose one with CLIP's text")
    tags = _open_clip().list_pretrained_tags_by_model(name)
    published = _open_clip().get_pretrained_cfg(name, tags[0]) if tags else {}
    statistics = {key: published[key] for key in ("mean", "std") if key in published}
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # of weights that are random: ours are loaded afterwards
    try:
        return _open_clip().create_model(
            name, pretrained=None, load_weights=False, force_preprocess_cfg=statistics
        )
    finally:
        logging.disable(before)


def _tokenizer(config: EncoderConfig) -> Any:
    """The tokenizer of a model: open_clip's, a vocabulary of ours, or a folder from the hub."""
    text, folder = _text_config(config.model), weights_path(config.tokenizer or "")
    library, hub_name = _open_clip().tokenizer, text.get("hf_tokenizer_name")
    if hub_name is None:
        own = config.tokenizer is not None
        tokenizer = tiny_tokenizer(folder) if own else _open_clip().get_tokenizer(config.model)
        n_entries, known = text.get("vocab_size", _CLIP_VOCABULARY), len(tokenizer.encoder)
        if known != n_entries:
            counts = f"has a vocabulary of {n_entries} entries, its tokenizer {known}"
            remedy = "encoder.tokenizer has to name the file of its merges (.txt.gz)"
            raise TasError(f"CLIP model {config.model} {counts}; {remedy}")
        return tokenizer
    if config.tokenizer is None or not folder.is_dir():
        needs = f"needs the tokenizer files of {hub_name} from the hub"
        remedy = f"encoder.tokenizer has to name their folder, not {config.tokenizer}"
        raise TasError(f"CLIP model {config.model} {needs}; {remedy}")
    load_tokenizer(folder, "CLIP")  # tells in one line what is wrong with the folder
    with quiet_transformers():
        return library.HFTokenizer(
            str(folder),
            context_length=text.get("context_length", library.DEFAULT_CONTEXT_LENGTH),
            tokenizer_mode=text.get("tokenizer_mode"),
            **text.get("tokenizer_kwargs", {}),
        )


def tiny_tokenizer(path: Path) -> Any:
    """open_clip's `SimpleTokenizer` over a file of merges; int64 (n, 77) of n texts.

    The tiny models' has about 1,700 entries, not 49,408, and falls back to bytes for any text.
    """
    from open_clip.tokenizer import SimpleTokenizer

    if not path.is_file():
        raise TasError(f"no tokenizer at {path}; restore the folder data/weights")
    try:
        with gzip.open(path) as file:
            data = file.read(_MAX_BYTES + 1)
        lines = filter(None, data.decode().split("\n")[1:])
        if len(data) > _MAX_BYTES or not all(len(line.split()) == 2 for line in lines):
            raise ValueError("no list of merges")
        return SimpleTokenizer(bpe_path=str(path), context_length=77)
    except (OSError, ValueError, EOFError, zlib.error, LookupError) as error:
        raise TasError(f"tokenizer {path} is damaged ({error}); restore the file") from error
