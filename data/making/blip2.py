"""The tiny BLIP-2: small parts of transformers' `Blip2ForConditionalGeneration`, own vocabulary.

As the published one starts from a trained CLIP ViT without its last layer, so does this one
start from the first five of tiny-ViT's six layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from making.tokenizer import TOKENIZER
from tasutils.crops import CLIP_MEAN_RGB, CLIP_STD_RGB
from tasutils.encoders.openclip import tiny_tokenizer

IMAGE_SIZE = 112
VISION_LAYERS = 5
QUERY_TOKENS = 8
START, END, PAD, IMAGE = "<start_of_text>", "<end_of_text>", "<pad>", "<image>"


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
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("</w>", " "),
            decoders.ByteLevel(),
            decoders.Fuse(),
            decoders.Replace(" ,", ","),
            decoders.Replace(" - ", "-"),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
        clean_up_tokenization_spaces=False,
        model_max_length=56,
    )


def build_blip2(tokenizer: Any) -> Any:
    """`Blip2ForConditionalGeneration` of 2.9 M parameters with random weights, float32."""
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        OPTConfig,
    )

    vision = Blip2VisionConfig(
        hidden_size=160,
        intermediate_size=640,
        num_hidden_layers=VISION_LAYERS,
        num_attention_heads=5,
        image_size=IMAGE_SIZE,
        patch_size=16,
        hidden_act="gelu",
        layer_norm_eps=1e-5,
        qkv_bias=True,
    )
    qformer = Blip2QFormerConfig(
        vocab_size=1,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=384,
        cross_attention_frequency=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=8,
    )
    text = OPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        word_embed_proj_dim=128,
        ffn_dim=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=80,
        dropout=0.0,
        layerdrop=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = Blip2Config(
        vision_config=vision.to_dict(),
        qformer_config=qformer.to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=QUERY_TOKENS,
        image_text_hidden_size=64,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
    )
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
    names = {
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "attn.in_proj_": "self_attn.qkv.",
        "attn.out_proj": "self_attn.projection",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    for key, value in visual.items():
        if not key.startswith("transformer.resblocks."):
            continue
        number, rest = key.removeprefix("transformer.resblocks.").split(".", 1)
        if int(number) < VISION_LAYERS:
            for old, new in names.items():
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
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    BlipImageProcessor(
        size=side, image_mean=list(CLIP_MEAN_RGB), image_std=list(CLIP_STD_RGB)
    ).save_pretrained(folder)
