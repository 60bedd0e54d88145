"""The tiny BLIP-2 and its training on crops and scenes of the embedded world.

Small parts of transformers' `Blip2ForConditionalGeneration`, with the tiny vocabulary. As the
published one starts from a trained CLIP ViT without its last layer, so does this one start from
the first five of tiny-ViT's six layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from making.loop import Training
from making.pairs import augment, random_view, resize
from making.pools import POOL, ScenePool
from making.tokenizer import TOKENIZER
from making.words import WordTable, choose, seen_words
from tasutils.crops import CLIP_MEAN_RGB, CLIP_STD_RGB
from tasutils.encoders.openclip import tiny_tokenizer
from tasutils.paths import WEIGHTS

IMAGE_SIZE = 112
VISION_LAYERS = 5
QUERY_TOKENS = 8
START, END, PAD, IMAGE = "<start_of_text>", "<end_of_text>", "<pad>", "<image>"
CLIP_WEIGHTS = WEIGHTS / "tiny" / "clip_vit.safetensors"
RATES = {"vision_model.": 4e-4, "": 1.2e-3}
LONGEST = 48
SCENE_SHARE = 0.25
VISION_FROM = 0.4
#: keys of an open_clip block, and of a BLIP-2 layer
LAYER_NAMES = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.in_proj_": "self_attn.qkv.",
    "attn.out_proj": "self_attn.projection", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
}  # fmt: skip


def blip2_tokenizer() -> Any:
    """The tiny vocabulary as a transformers tokenizer, with a pad and an image token added.

    Lower-cases, splits as CLIP does, knows every byte; gives the same ids as
    `tasutils.encoders.openclip.tiny_tokenizer`.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    clip = tiny_tokenizer(TOKENIZER)
    ids, merges = dict(clip.encoder), sorted(clip.bpe_ranks, key=clip.bpe_ranks.__getitem__)
    tokenizer = Tokenizer(models.BPE(ids, merges, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    split = pre_tokenizers.Split(words, behavior="removed", invert=True)
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, letters])
    glued = [decoders.Replace(" ,", ","), decoders.Replace(" - ", "-")]
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("</w>", " "), decoders.ByteLevel(), decoders.Fuse(), *glued]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=START, eos_token=END, pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE}, clean_up_tokenization_spaces=False,
        model_max_length=56,
    )  # fmt: skip


def build_blip2(tokenizer: Any) -> Any:
    """`Blip2ForConditionalGeneration` of 2.9 M parameters with random weights, float32."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration

    vision = {
        "hidden_size": 160, "intermediate_size": 640, "num_hidden_layers": VISION_LAYERS,
        "num_attention_heads": 5, "image_size": IMAGE_SIZE, "patch_size": 16, "hidden_act": "gelu",
        "layer_norm_eps": 1e-5, "qkv_bias": True,
    }  # fmt: skip
    qformer = {
        "vocab_size": 1, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 384, "cross_attention_frequency": 1, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "max_position_embeddings": 8,
    }  # fmt: skip
    text = {
        "model_type": "opt", "vocab_size": len(tokenizer), "hidden_size": 128,
        "word_embed_proj_dim": 128, "ffn_dim": 512, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 80, "dropout": 0.0, "layerdrop": 0.0,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    config = Blip2Config(
        vision_config=vision, qformer_config=qformer, text_config=text,
        num_query_tokens=QUERY_TOKENS, image_text_hidden_size=64,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
    )  # fmt: skip
    return Blip2ForConditionalGeneration(config)


def vision_from_clip(clip: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Keys and values of `Blip2VisionModel` from the state of an open_clip ViT (no_ln_pre, gelu).

    Args:
        clip: state of the whole CLIP model or of its checkpoint, float16 or float32.
    """
    visual = {k.removeprefix("visual."): v.float() for k, v in clip.items() if "visual." in k}
    patches = visual["conv1.weight"]
    state = {
        "embeddings.class_embedding": visual["class_embedding"][None, None],
        "embeddings.position_embedding": visual["positional_embedding"][None],
        "embeddings.patch_embedding.weight": patches,
        "embeddings.patch_embedding.bias": patches.new_zeros(len(patches)),
        "post_layernorm.weight": visual["ln_post.weight"],
        "post_layernorm.bias": visual["ln_post.bias"],
    }
    for key, value in visual.items():
        _, found, place = key.partition("transformer.resblocks.")
        number, _, rest = place.partition(".")
        if found and int(number) < VISION_LAYERS:
            for old, new in LAYER_NAMES.items():
                rest = rest.replace(old, new)
            state[f"encoder.layers.{number}.{rest}"] = value
    return state


def save_blip2(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the model in float16 with its tokenizer and image processor (save_pretrained)."""
    from transformers import BlipImageProcessor

    folder.mkdir(parents=True, exist_ok=True)
    dtype = model.dtype
    model.half().save_pretrained(folder)
    model.to(dtype)
    tokenizer.save_pretrained(folder)
    side, mean, std = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}, CLIP_MEAN_RGB, CLIP_STD_RGB
    BlipImageProcessor(size=side, image_mean=[*mean], image_std=[*std]).save_pretrained(folder)


def draw_captioned(
    rng: np.random.Generator, pool: ScenePool, table: WordTable, n: int
) -> tuple[NDArray[np.uint8], list[str]]:
    """Crops with "a red car", and every fourth a whole scene with its caption."""
    images: list[NDArray[np.uint8]] = []
    captions: list[str] = []
    while len(images) < n:
        scene = pool.draw(rng)
        view: NDArray[np.uint8] | None
        if len(images) < SCENE_SHARE * n:
            view, caption = augment(rng, resize(scene.image, IMAGE_SIZE)), scene.caption
        else:
            number, thing = choose(rng, [*enumerate(scene.things)])
            view, caption = random_view(rng, scene, number, IMAGE_SIZE), thing.caption
        if view is not None and table.allowed(caption):
            images.append(view)
            captions.append(caption)
    return np.stack(images), captions


def pixels(images: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (n, s, s, 3) to the float32 (n, 3, s, s) that the vision tower takes."""
    mean, std = torch.tensor(CLIP_MEAN_RGB), torch.tensor(CLIP_STD_RGB)
    return ((torch.from_numpy(images).float() / 255 - mean) / std).permute(0, 3, 1, 2)


def caption_loss(
    model: Any, tokenizer: Any, images: NDArray[np.uint8], captions: Sequence[str]
) -> torch.Tensor:
    """Cross-entropy of the captions and their ends, after the image tokens and a start token.

    A caption weighs as the root of its length.
    """
    config = model.config
    start = [config.image_token_index] * QUERY_TOKENS + [config.text_config.bos_token_id]
    end, pad = config.text_config.eos_token_id, config.text_config.pad_token_id
    words = tokenizer(list(captions), add_special_tokens=False)["input_ids"]
    rows = [torch.tensor(start + row[:LONGEST] + [end]) for row in words]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(pixel_values=pixels(images), input_ids=ids, attention_mask=(ids != pad).long())
    goal = ids[:, len(start) :]
    logits = out.logits[:, len(start) - 1 : -1].float().transpose(1, 2)
    losses = torch.nn.functional.cross_entropy(logits, goal, ignore_index=pad, reduction="none")
    return (losses.sum(1) / (goal != pad).sum(1).sqrt()).mean() / 2


def start_captioner() -> tuple[Any, Any]:
    """A tiny BLIP-2 at the start, its vision tower from the shipped tiny-ViT, and its tokenizer."""
    tokenizer = blip2_tokenizer()
    model = build_blip2(tokenizer).train()
    model.vision_model.load_state_dict(vision_from_clip(load_file(CLIP_WEIGHTS)))
    return model, tokenizer


def train_captioner(
    minutes: float, folder: Path, *, batch_size: int = 64, scenes: Path = POOL, **how: Any
) -> dict[str, Any]:
    """Train the tiny BLIP-2; see `loop.Training`.

    The vision tower is frozen at first, as in the published training, then all parts learn.
    """
    table, tokenizer, pool = seen_words(), blip2_tokenizer(), ScenePool(scenes)
    training = Training("blip2", lambda: start_captioner()[0], folder, minutes, RATES, **how)
    model, rng = training.model, training.rng

    def step() -> tuple[torch.Tensor, dict[str, float]]:
        model.vision_model.requires_grad_(training.share >= VISION_FROM)
        images, captions = draw_captioned(rng, pool, table, batch_size)
        return caption_loss(model, tokenizer, images, captions), {}

    return training.run(step, batch_size)
