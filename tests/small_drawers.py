"""Small random SAM 3, Grounding DINO, SAM 2 and Florence-2, in folders as the hub keeps theirs."""

import gzip
import importlib.resources as resources

import torch
import transformers as t
from safetensors.torch import save_file
from small_models import write_bert_words

SIZE = 32  # of every width
SAM3_SIDE, DINO_SIDE, SAM2_SIDE, FLORENCE_SIDE = 56, 96, 64, 64
SQUASHED = {"size": {"height": 0, "width": 0}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
LAYER = {"hidden_size": SIZE, "num_attention_heads": 2, "intermediate_size": SIZE}


def byte_symbols():
    """The 256 printable symbols that byte-level tokenizers write bytes with."""
    from open_clip.tokenizer import bytes_to_unicode

    return list(bytes_to_unicode().values())


def clip_tokenizer():
    """CLIP's own, from the list of merges that open_clip ships."""
    path = resources.files("open_clip") / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1:48895]]
    symbols = byte_symbols()
    words = [*symbols, *(f"{s}</w>" for s in symbols), *map("".join, merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    return t.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=32)


def lively(model, gain=2.0):
    """The model with larger weights, so that what it says depends on picture and sentence."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter, nonlinearity="linear")
            parameter.data.mul_(gain)
        elif "bias" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def sam3_config():
    vision = t.Sam3VisionConfig(
        backbone_config=t.Sam3ViTConfig(
            **LAYER, num_hidden_layers=1, image_size=SAM3_SIDE, patch_size=14, window_size=2,
            global_attn_indexes=[0], pretrain_image_size=SAM3_SIDE,
        ),
        fpn_hidden_size=SIZE, backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
    )  # fmt: skip
    text = t.CLIPTextConfig(
        **LAYER, vocab_size=49408, num_hidden_layers=1, max_position_embeddings=32,
        projection_dim=SIZE,
    )  # fmt: skip
    part = {"hidden_size": SIZE, "num_attention_heads": 2, "intermediate_size": SIZE}
    return t.Sam3Config(
        vision_config=vision, text_config=text, geometry_encoder_config=part | {"num_layers": 1},
        detr_encoder_config=part | {"num_layers": 1}, detr_decoder_config=part
        | {"num_layers": 1, "num_queries": 10}, mask_decoder_config=part,
    )  # fmt: skip


def write_sam3(folder):
    """As facebook/sam3 has it: a detector with its prefix, and a tracker beside it."""
    torch.manual_seed(0)
    state = lively(t.Sam3Model(sam3_config())).state_dict()
    state = {f"detector_model.{key}": value.contiguous() for key, value in state.items()}
    state["tracker_model.no_memory_embedding"] = torch.zeros(1, 1, SIZE)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    t.Sam3VideoConfig(detector_config=sam3_config().to_dict()).save_pretrained(folder)
    size = {"height": SAM3_SIDE, "width": SAM3_SIDE}
    pixels = t.Sam3ImageProcessor(size=size)
    t.Sam3Processor(pixels, clip_tokenizer()).save_pretrained(folder)
    return folder


def write_dino(folder):
    n = write_bert_words(folder)
    words = (folder / "vocab.txt").read_text().split("\n")[:n]
    words += [f"[unused{k}]" for k in range(1040 - n)]
    for at, word in ((101, "[CLS]"), (102, "[SEP]"), (1012, "."), (1029, "?")):
        words[words.index(word)], words[at] = words[at], word
    tokenizer = t.BertTokenizer(vocab={w: k for k, w in enumerate(words)}, model_max_length=512)
    swin = t.SwinConfig(
        image_size=64, embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=4,
        out_indices=[2, 3, 4],
    )  # fmt: skip
    text = t.BertConfig(**LAYER, vocab_size=len(words), num_hidden_layers=1)
    config = t.GroundingDinoConfig(
        backbone_config=swin, text_config=text, d_model=SIZE, encoder_layers=1, decoder_layers=2,
        encoder_ffn_dim=SIZE, decoder_ffn_dim=SIZE, encoder_attention_heads=2,
        decoder_attention_heads=2, num_queries=10,
    )  # fmt: skip
    torch.manual_seed(1)
    lively(t.GroundingDinoForObjectDetection(config)).save_pretrained(folder)
    size = {"shortest_edge": DINO_SIDE, "longest_edge": 160}
    t.GroundingDinoProcessor(t.GroundingDinoImageProcessor(size=size), tokenizer).save_pretrained(
        folder
    )
    return folder


def write_sam2(folder):
    backbone = t.Sam2HieraDetConfig(
        hidden_size=8, image_size=[SAM2_SIDE, SAM2_SIDE], blocks_per_stage=[1] * 4,
        embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1] * 4,
        global_attention_blocks=[],
    )  # fmt: skip
    vision = t.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=SIZE,
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
    )  # fmt: skip
    prompt = t.Sam2PromptEncoderConfig(hidden_size=SIZE, image_size=SAM2_SIDE)
    mask = t.Sam2MaskDecoderConfig(
        hidden_size=SIZE, mlp_dim=SIZE, num_hidden_layers=1, num_attention_heads=2,
        iou_head_hidden_dim=SIZE,
    )  # fmt: skip
    config = t.Sam2Config(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=mask
    )
    torch.manual_seed(2)
    lively(t.Sam2Model(config)).save_pretrained(folder)
    size = {"height": SAM2_SIDE, "width": SAM2_SIDE}
    t.Sam2Processor(t.Sam2ImageProcessor(size=size)).save_pretrained(folder)
    return folder


def write_florence2(folder):
    places = [f"<loc_{k}>" for k in range(1000)]
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<image>", "<poly>", "</poly>", "<sep>"]
    words = [*specials, *byte_symbols()]
    tokenizer = t.RobertaTokenizer(
        vocab={w: k for k, w in enumerate(words)}, merges=[], model_max_length=128,
        extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    tokenizer.add_tokens([*places, "<poly>", "</poly>", "<sep>"])
    vision = t.Florence2VisionConfig(
        embed_dim=[8] * 4, depths=[1] * 4, num_heads=[1] * 4, num_groups=[1] * 4, window_size=4,
        projection_dim=SIZE,
    )  # fmt: skip
    text = t.BartConfig(
        vocab_size=len(tokenizer), d_model=SIZE, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=SIZE,
        decoder_ffn_dim=SIZE, max_position_embeddings=128, bos_token_id=0, pad_token_id=1,
        eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2,
    )  # fmt: skip
    config = t.Florence2Config(
        vision_config=vision, text_config=text, image_token_id=tokenizer.image_token_id
    )
    torch.manual_seed(3)
    lively(t.Florence2ForConditionalGeneration(config)).save_pretrained(folder)
    size = {"height": FLORENCE_SIDE, "width": FLORENCE_SIDE}
    pixels = t.CLIPImageProcessor(size=size, do_center_crop=False)
    pixels.image_seq_length = 5
    t.Florence2Processor(pixels, tokenizer, post_processor_config={"polygons": {}}).save_pretrained(
        folder
    )
    return folder
