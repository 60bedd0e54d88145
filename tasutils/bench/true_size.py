"""A preset at its true size without its weights: random ones, through the preset's own loaders.

SAM and CLIP are built with no checkpoint. BLIP-2 is written to a folder as save_pretrained does,
from the config.json of the preset's folder or, where that is not here, from the published sizes
(with a tokenizer of numbered words), and read back. Random masks would be noise over the whole
picture, which no filter lets through and no code stores well: so `draw_discs`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasutils.checkpoints import SAFELY
from tasutils.config import Preset
from tasutils.crops import CLIP_MEAN_RGB, CLIP_STD_RGB
from tasutils.errors import TasError
from tasutils.paths import weights_path
from tasutils.proposals.sam import SamProposer
from tasutils.tas import TAS

if TYPE_CHECKING:
    import torch

IMAGE_TOKEN, VOCABULARY = 50265, 50304  # of Salesforce/blip2-opt-2.7b
RADII = (0.0625, 0.0625, 0.11, 0.16)  # of the four masks of a point, of SAM's input
STEEPNESS = 1000.0  # of a disc's edge: no threshold of stability moves it
SEED = 0


def random_tas(preset: Preset, device: str, folder: Path) -> TAS:
    """The preset with random weights, its captioner written to `folder`; captions of fixed length.

    Raises TasError for a preset without SAM, CLIP of open_clip and BLIP-2.
    """
    import torch

    kinds = (preset.proposals.kind, preset.encoder.kind, preset.captioner.kind)
    if kinds != ("sam", "openclip", "image_to_text"):
        raise TasError(f"preset {preset.name} is not SAM, CLIP and BLIP-2; choose paper or tiny")
    torch.manual_seed(SEED)
    write_blip2(Path(preset.captioner.checkpoint), folder, device)
    changes: dict[str, Any] = {"proposals.checkpoint": None, "encoder.checkpoint": None}
    changes |= {"captioner.checkpoint": str(folder)}
    changes["captioner.min_length"] = preset.captioner.max_new_tokens  # type: ignore[union-attr]
    tas = TAS(preset.override(changes), device=device)
    assert isinstance(tas.proposer, SamProposer)
    draw_discs(tas.proposer.model)
    return tas


def write_blip2(checkpoint: Path, folder: Path, device: str) -> None:
    """A BLIP-2 with random weights of the size that a checkpoint has, float16, to `folder`."""
    import torch
    from transformers import AutoConfig, Blip2ForConditionalGeneration

    from tasutils.checkpoints import quiet_transformers

    known = weights_path(checkpoint)
    if (known / "config.json").is_file():
        config = AutoConfig.from_pretrained(known, **SAFELY)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
            shutil.copy(known / name, folder)
    else:
        config = blip2_opt_config()
        _write_words(folder)
    config.vision_config.initializer_range = 0.02  # of 1e-10 nothing is left in float16
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float16)
        with torch.device(device):
            model = Blip2ForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    with quiet_transformers():
        model.save_pretrained(folder)


def blip2_opt_config() -> Any:
    """BLIP-2 OPT-2.7b: transformers' defaults (ViT-g, Q-Former) but for OPT's sizes.

    OPT: facebook/opt-2.7b (32 layers of 2560, 10240 inside), its vocabulary padded.
    """
    from transformers import Blip2Config, OPTConfig

    opt = OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=2560,
        word_embed_proj_dim=2560,
        ffn_dim=10240,
        num_hidden_layers=32,
        num_attention_heads=32,
        max_position_embeddings=2048,
    )
    return Blip2Config(text_config=opt.to_dict(), image_token_index=IMAGE_TOKEN)


def _write_words(folder: Path) -> None:
    """A tokenizer whose word number i is "word<i>", and BLIP-2's image processor."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BlipImageProcessor, PreTrainedTokenizerFast

    words = [f"word{index}" for index in range(VOCABULARY)]
    words[:4] = ["<s>", "<pad>", "</s>", "<unk>"]  # as OPT numbers them
    words[IMAGE_TOKEN] = "<image>"
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    ).save_pretrained(folder)
    side = {"height": 224, "width": 224}
    BlipImageProcessor(
        size=side, image_mean=list(CLIP_MEAN_RGB), image_std=list(CLIP_STD_RGB)
    ).save_pretrained(folder)


def draw_discs(sam: Any) -> None:
    """Let a SAM of random weights give a disc around each point, and think well of half of them.

    Every module does its work, then what it gives is written over: the transformer passes on, in
    its first channel, how near each place is to the point (the kernel of SAM's own Fourier
    features), and the heads cut that at four radii. About half of the points, by those features,
    have one mask of predicted IoU 0.95, all else has 0; no point depends on the others.
    """
    import torch
    from torch.nn.functional import interpolate

    decoder, label = sam.mask_decoder, sam.prompt_encoder.point_embeddings[1].weight
    radii = torch.tensor(RADII, device=label.device)
    levels = torch.exp(-8 * torch.pi**2 * radii**2)  # kernel of features exp(2 pi i b x), |x| <= 1
    first = 1 + decoder.num_mask_tokens  # the point among the transformer's tokens

    def near_point(module: Any, inputs: Any, output: Any) -> Any:
        queries, keys = output[0].clone(), output[1].clone()  # (b, t, c), (b, h w, c)
        with torch.autocast(keys.device.type, enabled=False):
            points = (inputs[2][:, first] - label).float()  # (b, c): sines, then cosines
            places = inputs[1][0].float().flatten(1)  # (c, h w)
            half = points.shape[1] // 2
            keys[:, :, 0] = (points @ places) / half - levels[1]
            queries[:, 0, 0] = torch.where(points[:, :half].sum(dim=1) > 0, 0.95, 0.0)
        return queries, keys

    def guess(module: Any, inputs: Any, output: Any) -> Any:
        liked = torch.zeros_like(output)  # (b, 4)
        liked[:, 1] = inputs[0][:, 0]
        return liked

    def enlarged(module: Any, inputs: Any, output: Any) -> Any:
        planes = torch.zeros_like(output)  # (b, c / 8, 4 h, 4 w)
        distance = inputs[0][:, :1].float()
        size = (output.shape[2], output.shape[3])
        planes[:, 0] = STEEPNESS * interpolate(distance, size, mode="bilinear")[:, 0]
        planes[:, 1] = 1.0
        return planes

    def cut_at(level: torch.Tensor, output: Any) -> Any:
        weights = torch.zeros_like(output)  # (b, c / 8)
        weights[:, 0], weights[:, 1] = 1.0, STEEPNESS * (levels[1] - level)
        return weights

    decoder.transformer.register_forward_hook(near_point)
    decoder.iou_prediction_head.register_forward_hook(guess)
    decoder.output_upscaling.register_forward_hook(enlarged)
    for level, head in zip(levels, decoder.output_hypernetworks_mlps, strict=True):
        head.register_forward_hook(lambda m, i, output, level=level: cut_at(level, output))
