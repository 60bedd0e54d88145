"""describe() with small random networks of the real architectures, and its parts."""

import json

import numpy as np
import pytest
import torch

from tasutils.captioners import clean_caption
from tasutils.captioners.blip2 import Blip2Captioner
from tasutils.config import load_preset
from tasutils.encoders.openclip import OpenClipEncoder, build_clip
from tasutils.errors import TasError
from tasutils.loading import TAS, load, pick_device
from tasutils.parts import CaptionerConfig, EncoderConfig
from tasutils.proposals.ground_truth import GroundTruthProposer
from tasutils.scene import STAGES

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "a", "red", "car", "dog", "on", "the", "left"]


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory):
    """A float16 checkpoint of a small CLIP whose configuration is called "test-ViT"."""
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("clip")
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
    model = build_clip("test-ViT").half()
    save_file(model.state_dict(), folder / "clip.safetensors")
    return folder / "clip.safetensors"


@pytest.fixture(scope="session")
def encoder(clip_file):
    return OpenClipEncoder(EncoderConfig(model="test-ViT", checkpoint=str(clip_file)))


@pytest.fixture(scope="session")
def blip2_folder(tmp_path_factory):
    """A float16 BLIP-2 folder as written by save_pretrained."""
    import transformers as t
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("blip2")
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    fast = t.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, additional_special_tokens=["<image>"], **names
    )
    fast.save_pretrained(folder)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = t.Blip2VisionConfig(**size, intermediate_size=64, image_size=48, patch_size=16)
    qformer = t.Blip2QFormerConfig(
        **size, intermediate_size=64, encoder_hidden_size=32, vocab_size=16
    )
    text = t.OPTConfig(
        **size,
        vocab_size=len(WORDS),
        ffn_dim=64,
        max_position_embeddings=64,
        word_embed_proj_dim=32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    config = t.Blip2Config(
        vision_config=vision.to_dict(),
        qformer_config=qformer.to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=4,
        image_token_index=4,
    )
    torch.manual_seed(0)
    t.Blip2ForConditionalGeneration(config).half().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def captioner(blip2_folder):
    return Blip2Captioner(
        CaptionerConfig(checkpoint=str(blip2_folder), num_beams=3, max_new_tokens=6)
    )


class WordChunks:
    """Every word is a noun phrase."""

    def noun_chunks(self, text):
        return text.split()


class FixedCaptioner:
    image_size, device = 20, "cpu"

    def __init__(self, *captions):
        self.captions = captions

    def caption(self, crops):
        assert crops.shape[1:] == (3, 20, 20)
        return [self.captions[index % len(self.captions)] for index in range(len(crops))]


def make_tas(encoder, captioner, masks):
    return TAS(
        load_preset("tiny"), GroundTruthProposer(masks), encoder, captioner, WordChunks(), "cpu"
    )


def test_describe(encoder, picture, masks):
    captions = FixedCaptioner("a red car a red car ", "a photo of", "dog")
    scene = make_tas(encoder, captions, masks).describe(picture, "picture 7")
    assert scene.image_id == "picture 7" and scene.size_hw == (60, 80)
    assert scene.crop_embeddings.shape == scene.caption_embeddings.shape == (3, encoder.dim)
    assert np.allclose(np.linalg.norm(scene.crop_embeddings, axis=1), 1, atol=1e-5)
    assert scene.captions == ["a red car", "", "dog"]
    assert scene.captions_raw == ["a red car a red car ", "a photo of", "dog"]
    assert not scene.caption_embeddings[1].any(), "an empty caption says nothing: P = 0"
    assert np.allclose(scene.caption_embeddings[2], encoder.encode_text(["dog"])[0], atol=1e-6)
    assert scene.image_caption == "a red car" and scene.phrases == ["a", "red", "car"]
    assert scene.phrase_embeddings.shape == (3, encoder.dim)
    assert tuple(scene.times_s) == STAGES and min(scene.times_s.values()) >= 0
    assert scene.describe_digest == load_preset("tiny").describe_digest()


def test_permuted_masks_permute_the_scene(encoder, captioner, picture, masks):
    a = make_tas(encoder, captioner, masks).describe(picture)
    b = make_tas(encoder, captioner, masks[::-1]).describe(picture)
    assert np.allclose(a.crop_embeddings, b.crop_embeddings[::-1], atol=1e-5)
    assert a.captions == b.captions[::-1]


def test_empty_scene(encoder, captioner, picture, masks):
    scene = make_tas(encoder, captioner, masks[:0]).describe(picture)
    assert len(scene.proposals) == 0
    assert scene.crop_embeddings.shape == scene.caption_embeddings.shape == (0, encoder.dim)
    assert scene.captions == scene.captions_raw == []
    silent = make_tas(encoder, FixedCaptioner(""), masks).describe(picture)
    assert silent.phrases == [] and silent.phrase_embeddings.shape == (0, encoder.dim)
    assert np.isfinite(silent.caption_embeddings).all()


def test_one_pixel(encoder, captioner):
    dot = np.ones((1, 1, 1), bool)
    scene = make_tas(encoder, captioner, dot).describe(np.zeros((1, 1, 3), np.uint8))
    assert np.isfinite(scene.crop_embeddings).all()


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("", ""),
        ("  a red   car\n", "a red car"),
        ("ray ban ray ban ray ban", "ray ban"),
        ("a man with ray ban ray ban ray", "a man with ray ban"),
        ("a a a dog", "a dog"),
        ("dog dog dog dog", "dog"),
        ("bora bora", "bora bora"),
        ("a red car and a red car", "a red car and a red car"),
        ("a dog a dog a cat", "a dog a cat"),
        ("a photo of", ""),
        ("A picture of a", ""),
        ("a photo of a dog", "a photo of a dog"),
        ("a photo of a photo of a photo of", ""),
    ],
)
def test_clean_caption(raw, clean):
    assert clean_caption(raw) == clean
    assert clean_caption(clean) == clean


def test_encoder_batches_and_norms(encoder, clip_file, rng):
    crops = torch.from_numpy(rng.random((7, 3, 32, 32), dtype=np.float32))
    texts = ["a red car", "", "🐈 " * 200, "naïve café", "two dogs", "x" * 5000, "a"]
    for encode, items in ((encoder.encode_images, crops), (encoder.encode_text, texts)):
        whole = encode(items)
        assert whole.dtype == np.float32 and whole.shape == (7, encoder.dim)
        assert np.allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
        single = np.concatenate([encode(items[i : i + 1]) for i in range(7)])
        assert np.abs(whole - single).max() < 1e-5
        assert encode(items[:0]).shape == (0, encoder.dim)
    small = OpenClipEncoder(encoder.config, batch_size=3)
    assert np.abs(small.encode_images(crops) - encoder.encode_images(crops)).max() < 1e-5


def test_encoder_is_open_clip_s_own(encoder, rng):
    crops = torch.from_numpy(rng.random((2, 3, 32, 32), dtype=np.float32))
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    with torch.no_grad():
        want = encoder.model.encode_image((crops - mean) / std, normalize=True).numpy()
    assert np.abs(encoder.encode_images(crops) - want).max() < 1e-5


def test_unfit_clip_weights(clip_file, tmp_path):
    from safetensors.torch import load_file, save_file

    state = load_file(clip_file)
    state["logit_scale"] = torch.ones(3)
    state["stranger"] = state.pop("ln_final.weight")
    save_file(state, tmp_path / "bad.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(clip_file.read_bytes()[:1000])
    (tmp_path / "list.pt").write_bytes(b"junk")
    told = {
        "bad": "1 missing .*1 unexpected .*1 of other shape",
        "cut": "damaged",
        "absent": "no weights",
    }
    for name, message in told.items():
        path = tmp_path / f"{name}.safetensors"
        with pytest.raises(TasError, match=message) as error:
            OpenClipEncoder(EncoderConfig(model="test-ViT", checkpoint=str(path)))
        assert "\n" not in str(error.value)
    with pytest.raises(TasError, match="damaged"):
        OpenClipEncoder(EncoderConfig(model="test-ViT", checkpoint=str(tmp_path / "list.pt")))
    for name in ("no-such-model", "hf-hub:a/b", "xlm-roberta-base-ViT-B-32"):
        with pytest.raises(TasError):
            build_clip(name)


def test_captioner(captioner, blip2_folder, rng):
    crops = torch.from_numpy(rng.random((5, 3, 48, 48), dtype=np.float32))
    assert captioner.image_size == 48
    texts = captioner.caption(crops)
    assert len(texts) == 5 and all("<" not in text for text in texts)
    config = captioner.config.model_copy(update={"batch_size": 2})
    assert Blip2Captioner(config).caption(crops) == texts
    assert captioner.caption(crops[:0]) == []


def test_captioner_reads_the_folder_s_mean(captioner, blip2_folder, tmp_path):
    import shutil

    shutil.copytree(blip2_folder, tmp_path / "b")
    values = {"image_mean": [0.5, 0.25, 0.5], "image_std": [1, 1, 1]}
    (tmp_path / "b" / "preprocessor_config.json").write_text(json.dumps(values))
    other = Blip2Captioner(CaptionerConfig(checkpoint=str(tmp_path / "b")))
    assert other._mean.flatten().tolist() == [0.5, 0.25, 0.5]
    assert captioner._mean.flatten()[0].item() == pytest.approx(0.48145466)


@pytest.mark.parametrize("victim", ["config.json", "model.safetensors", "tokenizer.json", ""])
def test_damaged_captioner(blip2_folder, tmp_path, victim):
    import shutil

    folder = tmp_path / "b"
    if victim:
        shutil.copytree(blip2_folder, folder)
        (folder / victim).write_bytes((folder / victim).read_bytes()[:500])
    with pytest.raises(TasError) as error:
        Blip2Captioner(CaptionerConfig(checkpoint=str(folder)))
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_captioner_weights_must_fit(blip2_folder, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(blip2_folder, tmp_path / "b")
    path = tmp_path / "b" / "model.safetensors"
    state = load_file(path)
    state.pop("query_tokens")
    path.unlink()
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(TasError, match="query_tokens"):
        Blip2Captioner(CaptionerConfig(checkpoint=str(tmp_path / "b")))


def test_parts_are_lazy_and_missing_weights_are_named(tmp_path):
    tas = load("paper", device="cpu")
    assert "proposer" not in tas.__dict__
    for part in ("proposer", "encoder", "captioner"):
        with pytest.raises(TasError, match="GB") as error:
            getattr(tas, part)
        assert "\n" not in str(error.value) and "nothing is downloaded" in str(error.value)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", "", "cpu cpu"])
def test_unknown_device(name):
    with pytest.raises(TasError, match="choose cpu"):
        pick_device(name)
