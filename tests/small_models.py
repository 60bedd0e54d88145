"""Small random networks of the published architectures, written as their publishers write them."""

import gzip
import json
import re
import string
from pathlib import Path

import torch

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "a", "red", "car", "dog", "on", "the", "left"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZE |= {"intermediate_size": 64}
SIDE = {"size": {"height": 48, "width": 48}}
SIDE |= {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}


def published_shapes(name):
    """Shapes by key of a published file, from manifests/NAME.tsv.gz."""
    path = Path(__file__).parent / "manifests" / f"{name}.tsv.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    rows = (line.split("\t") for line in lines if not line.startswith("#"))
    return {k: tuple(map(int, re.findall(r"\d+", size))) for k, size in rows}


def write_clip(folder):
    """A float16 checkpoint of a small CLIP whose configuration is called "test-ViT"."""
    import open_clip
    from safetensors.torch import save_file

    from tasutils.encoders.openclip import build_clip

    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16}
        | {"patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2}
        | {"layers": 1},
    }
    (folder / "test-ViT.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "test-ViT.json")
    torch.manual_seed(0)
    save_file(build_clip("test-ViT").half().state_dict(), folder / "clip.safetensors")
    return folder / "clip.safetensors"


SMALL_SIGLIP = {
    "embed_dim": 96,
    "custom_text": True,
    "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit3", "timm_pool": "map"}
    | {"timm_proj": "none", "timm_model_pretrained": False},
    "text_cfg": {"context_length": 16, "vocab_size": 110, "width": 64, "heads": 2, "layers": 1}
    | {"hf_tokenizer_name": "somebody/words", "tokenizer_kwargs": {"clean": "canonicalize"}}
    | {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
}


def write_siglip(folder):
    """Let open_clip know a small SigLIP, "test-SigLIP"; returns the folder of its tokenizer."""
    import open_clip

    write_bert_words(folder)
    path = folder / "test-SigLIP.json"
    path.write_text(json.dumps(SMALL_SIGLIP))
    open_clip.add_model_config(path)
    torch.manual_seed(0)
    return str(folder)


def write_albef(folder, side=48):
    """Both published layouts of a small ALBEF as NAME.pth with a tokenizer; returns its shape."""
    import zlib

    from tasutils.encoders.albef import AlbefShape, build_albef

    shape = AlbefShape(
        width=32, heads=2, image_layers=2, fusion_layer=2, vocabulary=write_bert_words(folder),
        positions=40, dim=16,
    )  # fmt: skip
    towers = {key: value.shape for key, value in build_albef(side, shape).state_dict().items()}
    fusion = "text_encoder.encoder.layer.2.crossattention.self.key.weight"
    towers |= {fusion: (32, 32), "text_encoder.embeddings.position_ids": (1, 40)}
    sizes = towers | {key.replace(".", "_m.", 1): size for key, size in towers.items()}
    sizes |= {"temp": (), "itm_head.weight": (2, 32), "image_queue": (16, 6), "queue_ptr": (1,)}
    state = {}
    for key, size in sizes.items():  # each tensor is a function of its name
        rng = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        state[key] = torch.randn(size, generator=rng) / max(size[-1:] or (1,)) ** 0.5
    before = {re.sub(r"^(text_encoder(_m)?)[.]", r"\1.bert.", k): v for k, v in state.items()}
    before["text_encoder.cls.predictions.bias"] = torch.zeros(shape.vocabulary)
    for layout, tensors in (("retrieval", state), ("pretraining", before)):
        extra = {"optimizer": {"state": {}}, "config": {"image_res": side}, "epoch": 3}
        torch.save({"model": tensors, **extra}, folder / f"{layout}.pth")
    return shape


def write_words(folder, *, image_token=True):
    """A tokenizer of the twelve WORDS; returns their number."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    extra = {"additional_special_tokens": ["<image>"]} if image_token else {}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **extra, **names).save_pretrained(folder)
    return len(WORDS)


def write_bert_words(folder):
    """BERT's tokenizer files with a vocabulary of letters and a few words; returns its size."""
    from transformers import BertTokenizer

    folder.mkdir(exist_ok=True)
    letters = string.ascii_lowercase + string.digits + "&$%@!?.,'-/()"
    words = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *WORDS[6:]]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    return len(words)


def write_blip2(folder):
    """A float16 BLIP-2 folder, OPT as its language model."""
    import transformers as t

    write_words(folder)
    vision = t.Blip2VisionConfig(**SIZE, image_size=48, patch_size=16)
    qformer = t.Blip2QFormerConfig(**SIZE, encoder_hidden_size=32, vocab_size=16)
    text = t.OPTConfig(
        **{k: v for k, v in SIZE.items() if k != "intermediate_size"}, vocab_size=len(WORDS),
        ffn_dim=64, max_position_embeddings=64, word_embed_proj_dim=32, pad_token_id=0,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config = t.Blip2Config(
        vision_config=vision.to_dict(), qformer_config=qformer.to_dict(),
        text_config=text.to_dict(), num_query_tokens=4, image_token_index=4,
    )  # fmt: skip
    torch.manual_seed(0)
    model = _lively(t.Blip2ForConditionalGeneration(config)).half()
    return _write(model, t.BlipImageProcessor(**SIDE), folder)


def write_blip(folder):
    """A float32 BLIP folder."""
    import transformers as t

    vocabulary = write_bert_words(folder)
    vision = t.BlipVisionConfig(**SIZE, image_size=48, patch_size=16)
    text = t.BlipTextConfig(
        **SIZE, encoder_hidden_size=32, vocab_size=vocabulary, max_position_embeddings=64,
        bos_token_id=2, eos_token_id=3, sep_token_id=3, pad_token_id=0,
    )  # fmt: skip
    config = t.BlipConfig(vision_config=vision.to_dict(), text_config=text.to_dict())
    torch.manual_seed(1)
    model = _lively(t.BlipForConditionalGeneration(config))
    return _write(model, t.BlipImageProcessor(**SIDE), folder)


def write_vit_gpt2(folder):
    """A float32 vision encoder-decoder: ViT and GPT-2."""
    import transformers as t

    write_words(folder)
    encoder = t.ViTConfig(**SIZE, image_size=48, patch_size=16)
    decoder = t.GPT2Config(
        n_embd=32, n_layer=2, n_head=2, n_positions=64, vocab_size=len(WORDS),
        add_cross_attention=True, is_decoder=True, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    config = t.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    torch.manual_seed(2)
    model = _lively(t.VisionEncoderDecoderModel(config))
    return _write(model, t.ViTImageProcessor(**SIDE), folder)


def write_git(folder):
    """A float32 GIT folder, whose processor cuts the centre out as CLIP's does."""
    import transformers as t

    vocabulary = write_bert_words(folder)
    vision = t.GitVisionConfig(**SIZE, image_size=48, patch_size=16)
    config = t.GitConfig(
        vision_config=vision.to_dict(), **SIZE, vocab_size=vocabulary, max_position_embeddings=64,
        bos_token_id=2, eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(3)
    sides = {"size": {"shortest_edge": 48}, "crop_size": SIDE["size"]}
    processor = t.CLIPImageProcessor(**SIDE | sides)
    return _write(_lively(t.GitForCausalLM(config)), processor, folder)


def write_align(folder):
    """A float32 ALIGN folder with the settings of kakaobrain/align-base's processor, smaller."""
    import transformers as t

    vocabulary = write_bert_words(folder)
    text = t.AlignTextConfig(**SIZE, vocab_size=vocabulary, max_position_embeddings=64)
    vision = t.AlignVisionConfig(
        image_size=96, width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=64
    )
    config = t.AlignConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=80
    )
    torch.manual_seed(4)
    processor = t.EfficientNetImageProcessor(
        size={"height": 96, "width": 96}, crop_size={"height": 80, "width": 80},
        do_center_crop=True, do_normalize=False, include_top=False, resample=2,
        rescale_factor=1 / 127.5, rescale_offset=True,
    )  # fmt: skip
    return _write(_lively(t.AlignModel(config), 1.4), processor, folder)


def _lively(model, gain=3.0):
    """The model with larger weights, so that what it says depends on the picture."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter, nonlinearity="linear")
            parameter.data.mul_(gain)
    return model


def _write(model, processor, folder):
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
