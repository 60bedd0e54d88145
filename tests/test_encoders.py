"""Image-text encoders: equal to their libraries' own pipelines; dense features; bad folders.

The rows of small networks of every kind, ALBEF's places among them: test_golden.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import small_models
import torch
import transformers as t
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import load_file, save_file

from tasutils.config import load_preset
from tasutils.encoders import (
    AlbefConfig,
    AlignConfig,
    AlignEncoder,
    EncoderConfig,
    check_encoder,
    dense,
    embeddings,
)
from tasutils.encoders.albef import AlbefEncoder, build_albef, plain_words, read_albef
from tasutils.encoders.conse import ConseEncoder
from tasutils.encoders.openclip import OpenClipEncoder, build_clip
from tasutils.errors import TasError

TEXTS = ["a red car", "", "🐈 " * 200, "naïve café", "two dogs on the left", "x" * 5000, "a"]


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    return small_models.write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip(clip_file):
    return OpenClipEncoder(EncoderConfig(model="test-ViT", checkpoint=str(clip_file)))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    small_models.write_siglip(folder)
    return folder


@pytest.fixture(scope="module")
def siglip(words):
    torch.manual_seed(0)
    return OpenClipEncoder(EncoderConfig(model="test-SigLIP", tokenizer=str(words)))


@pytest.fixture(scope="module")
def align_folder(tmp_path_factory):
    return small_models.write_align(tmp_path_factory.mktemp("align"))


@pytest.fixture(scope="module")
def align(align_folder):
    return AlignEncoder(AlignConfig(checkpoint=str(align_folder)))


@pytest.fixture(scope="module")
def albef_folder(tmp_path_factory):
    """A folder with a small ALBEF in both layouts and its tokenizer, and its shape."""
    folder = tmp_path_factory.mktemp("albef")
    return folder, small_models.write_albef(folder)


def make_albef(small, layout="retrieval", image_size=48, words=None):
    checkpoint, tokenizer = str(small[0] / f"{layout}.pth"), str(words or small[0])
    config = AlbefConfig(checkpoint=checkpoint, tokenizer=tokenizer, image_size=image_size)
    return AlbefEncoder(config, shape=small[1])


@pytest.fixture(scope="module")
def albef(albef_folder):
    return make_albef(albef_folder)


@pytest.fixture(scope="module", params=["clip", "siglip", "align", "albef"])
def encoder(request):
    return request.getfixturevalue(request.param)


def pictures(side, n=3, seed=0):
    """Uint8 (n, side, side, 3): noise of many brightnesses."""
    rng = np.random.default_rng(seed)
    noise = rng.random((n, side, side, 3)) * rng.random((n, 1, 1, 3)) + rng.random((n, 1, side, 3))
    return (255 * noise.clip(0, 1)).astype(np.uint8)


def as_crops(pixels):
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def crops_of(encoder, n=3, seed=0):
    return as_crops(pictures(encoder.image_size, n, seed))


def unit(rows):
    return torch.nn.functional.normalize(rows, dim=-1).detach().numpy()


def apart(a, b):
    return float(np.abs(a - b).max())


# --- parity with the libraries ---


@pytest.mark.parametrize("name", ["test-ViT", "RN50-quickgelu"])
def test_clip_is_open_clip_s_own(clip_file, name):
    """open_clip's preprocessing of the picture, its tokenizer, encode_image, encode_text."""
    encoder = OpenClipEncoder(EncoderConfig(model=name))
    model, cfg = encoder.model, open_clip.get_model_preprocess_cfg(encoder.model)
    preprocess = image_transform_v2(PreprocessCfg(**cfg), is_train=False)
    pixels = pictures(encoder.image_size, 2)
    texts = TEXTS[:2]
    with torch.no_grad():
        inputs = torch.stack([preprocess(Image.fromarray(p)) for p in pixels])
        images = model.encode_image(inputs, normalize=True).numpy()
        tokens = open_clip.get_tokenizer(name)(texts)
        written = model.encode_text(tokens, normalize=True).numpy()
    assert apart(encoder.encode_images(as_crops(pixels)), images) < 1e-5
    assert apart(encoder.encode_text(texts), written) < 1e-5
    assert apart(images[0], images[1]) > 1e-3 and apart(written[0], written[1]) > 1e-3


def test_text_without_its_padding():
    config = EncoderConfig(model="tiny-ViT", checkpoint=None, tokenizer="tiny/tokenizer.txt.gz")
    clip = OpenClipEncoder(config)
    texts = ["", "dog", "the dog left of the red car, by the house", "word " * 120]
    for some in ([texts[0]], texts[:2], texts[1:3], texts):
        with torch.inference_mode():
            tokens = clip.tokenize(some)
            rows = torch.nn.functional.normalize(clip.model.encode_text(tokens), dim=-1).numpy()
        assert np.abs(clip.encode_text(some) - rows).max() < 1e-6


def test_siglip_is_open_clip_s_own(siglip, words):
    tokens = open_clip.tokenizer.HFTokenizer(str(words), context_length=16, clean="canonicalize")
    crops = crops_of(siglip)
    with torch.no_grad():
        written = siglip.model.encode_text(tokens(TEXTS), normalize=True).numpy()
        images = siglip.model.encode_image(siglip.pixel_values(crops), normalize=True).numpy()
    assert apart(siglip.encode_text(TEXTS), written) < 1e-5
    assert apart(siglip.encode_images(crops), images) < 1e-5


def test_align_is_transformers_own(align, align_folder):
    """AlignProcessor on pictures and texts, AlignModel.forward."""
    model = t.AlignModel.from_pretrained(align_folder).eval()
    processor = t.AlignProcessor(
        t.AutoImageProcessor.from_pretrained(align_folder),
        t.AutoTokenizer.from_pretrained(align_folder),
    )
    texts = [text for text in TEXTS if len(text) < 60]
    pixels = pictures(96, 4)
    inputs = processor(
        images=[Image.fromarray(p) for p in pixels], text=texts, return_tensors="pt",
        padding="max_length", max_length=64,
    )  # fmt: skip
    with torch.no_grad():
        own = model(**inputs)
    assert apart(align.encode_images(as_crops(pixels)), own.image_embeds.numpy()) < 1e-5
    assert apart(align.encode_text(texts), own.text_embeds.numpy()) < 1e-5
    assert apart(own.image_embeds[0].numpy(), own.image_embeds[1].numpy()) > 1e-2
    assert inputs["pixel_values"].shape[-1] == 80 and align.image_size == 96


# --- dense features ---


def test_dense_siglip_pools_each_place_alone(siglip):
    crops, trunk = crops_of(siglip, 2), siglip.model.visual.trunk
    caught = []
    with trunk.norm.register_forward_hook(lambda _, __, out: caught.append(out.clone())):
        siglip.encode_images(crops)
    tokens = caught[-1][:, trunk.num_prefix_tokens :]  # (n, 100, width)
    side = round(tokens.shape[1] ** 0.5)
    places = siglip.encode_dense(crops)
    assert places.shape == (2, side, side, siglip.dim)
    with torch.no_grad():
        for number in (0, 7, side * side - 1):
            alone = unit(trunk.fc_norm(trunk.attn_pool(tokens[:, number : number + 1])))
            assert apart(places[:, number // side, number % side], alone) < 1e-5


def test_who_has_dense_features(clip, align):
    assert dense(clip) is clip and dense(align) is align
    conse = object.__new__(ConseEncoder)
    conse.config = load_preset("photo").encoder
    with pytest.raises(
        TasError, match="encoder conse has no dense .*openclip, align or albef"
    ) as e:
        dense(conse)
    assert "\n" not in str(e.value)


# --- ALBEF ---


@pytest.mark.parametrize(("name", "side"), [("albef_keys", 384), ("albef_pretrain_keys", 256)])
def test_every_published_key_of_albef_is_accounted_for(name, side, monkeypatch):
    published = small_models.published_shapes(name)
    with torch.device("meta"):
        ours = build_albef(side).state_dict()
        state = {key: torch.empty(size) for key, size in published.items()}
        monkeypatch.setattr("tasutils.encoders.albef.read_state_dict", lambda path: state)
        needed = read_albef(Path("published"), side)
    assert {k: v.shape for k, v in needed.items()} == {k: v.shape for k, v in ours.items()}


def test_both_layouts_and_another_size_of_pictures(albef, albef_folder):
    other, wide = (make_albef(albef_folder, *how) for how in (["pretraining"], ["retrieval", 64]))
    assert apart(albef.encode_images(crops_of(albef)), other.encode_images(crops_of(albef))) < 1e-6
    assert apart(albef.encode_text(TEXTS), other.encode_text(TEXTS)) < 1e-6
    assert wide.encode_dense(crops_of(wide)).shape == (3, 4, 4, 16)
    assert albef.n_tokens("dog") < albef.context_length == 30 < albef.n_tokens("dog " * 40)


def test_words_as_albef_reads_them():
    for text, plain in {
        "The Man's RED car.": "the mans red car",
        'a T-shirt/jacket; "so" (blue)': "a t shirt jacket so blue",
        "  left\n of <person>: #2 ~ * ! ?": "left of person 2",
        "red & $5 [sic] {x} ü": "red & $5 [sic] {x} ü",
        "": "",
        "w " * 40: " ".join("w" * 30),
    }.items():
        assert plain_words(text) == plain


# --- what every encoder promises ---


@settings(max_examples=3, deadline=None)
@given(order=st.permutations(range(5)), seed=st.integers(0, 99))
def test_order_norm_and_batches(encoder, order, seed):
    order, crops, size = list(order), crops_of(encoder, 5, seed), encoder.crop_batches.size
    for encode, items in (
        (encoder.encode_images, crops),
        (encoder.encode_dense, crops),
        (encoder.encode_text, TEXTS[:5]),
    ):
        whole = encode(items)
        assert whole.dtype == np.float32 and whole.shape[0] == 5
        assert whole.shape[-1] == encoder.dim and encode(items[:0]).shape == (0, *whole.shape[1:])
        assert np.abs(np.linalg.norm(whole, axis=-1) - 1).max() < 1e-5
        mixed = [items[i] for i in order] if isinstance(items, list) else items[order]
        encoder.crop_batches.size = 2
        assert apart(encode(mixed), whole[order]) < 1e-5
        encoder.crop_batches.size = size
        single = np.concatenate([encode(items[i : i + 1]) for i in range(5)])
        assert apart(single, whole) < 1e-5


# --- bad files ---


def told(match, make, *args):
    with pytest.raises(TasError, match=match) as error:
        make(*args)
    assert "\n" not in str(error.value)


def test_models_and_tokenizers_that_lie_on_the_hub(siglip, tmp_path):
    for name in ("no-such-model", "hf-hub:a/b", "xlm-roberta-base-ViT-B-32"):
        told("unknown CLIP model|needs files from the hub", build_clip, name)
    for folder in (None, str(tmp_path / "absent")):
        config = EncoderConfig(model="test-SigLIP", tokenizer=folder)
        told("tokenizer files of somebody/words", OpenClipEncoder, config)
    config = EncoderConfig(model="test-SigLIP", tokenizer=str(tmp_path))
    told("no usable tokenizer", OpenClipEncoder, config)
    for model, tokenizer in (("tiny-ViT", None), ("test-ViT", "tiny/tokenizer.txt.gz")):
        config = EncoderConfig(model=model, tokenizer=tokenizer)
        told("has a vocabulary of .*encoder.tokenizer has to name", OpenClipEncoder, config)


def test_the_file_and_the_tokenizer_of_albef_must_fit(albef_folder, tmp_path):
    folder, shape = albef_folder
    state = torch.load(folder / "retrieval.pth")["model"]
    del state["text_encoder.embeddings.word_embeddings.weight"]
    state["stranger"] = torch.zeros(1)
    state["text_encoder.encoder.layer.x.weight"] = torch.zeros(1)
    state["vision_proj.weight"] = torch.zeros(3, 3)
    faults = "1 missing .*word_embed.*2 unexpected .*stranger.*1 of other shape .*vision_proj"
    odd = [{"visual_encoder.pos_embed": torch.zeros(n)} for n in ((3,), (1, 7, 32), (1, 0, 32))]
    for tensors, match in ((state, faults), *((one, "of other shape") for one in odd)):
        torch.save({"model": tensors}, tmp_path / "retrieval.pth")
        told(match, make_albef, (tmp_path, shape), "retrieval", 48, folder)
    told("no weights at", make_albef, albef_folder, "absent")
    told("no tokenizer folder", make_albef, albef_folder, "retrieval", 48, tmp_path / "absent")
    told("no usable tokenizer", make_albef, albef_folder, "retrieval", 48, tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join([*small_models.SPECIAL, "a", "dog"]))
    few = f"7 entries, ALBEF's {shape.vocabulary}"
    told(few, make_albef, albef_folder, "retrieval", 48, tmp_path)


def test_align_needs_its_own_whole_folder(align_folder, tmp_path):
    told("no ALIGN folder", AlignEncoder, AlignConfig(checkpoint=str(tmp_path / "absent")))
    blip = small_models.write_blip(tmp_path / "blip")
    told("holds a blip model, no ALIGN", AlignEncoder, AlignConfig(checkpoint=str(blip)))
    folder = shutil.copytree(align_folder, tmp_path / "align")
    state = load_file(folder / "model.safetensors")
    del state["text_projection.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    told("text_projection.weight", AlignEncoder, AlignConfig(checkpoint=str(folder)))


# --- an encoder of one's own, and threads ---


def test_what_an_encoder_of_ones_own_lacks_or_returns_is_named(clip):
    class Half:
        dim = 3

        def encode_text(self, texts):
            return torch.ones(len(texts), 3)

    check_encoder(clip)
    told("encoder Half has no image_size, encode_images; give it", check_encoder, Half())
    rows = embeddings(torch.ones(2, 3, requires_grad=True), 2, "texts")
    assert rows.dtype == np.float32 and rows.shape == (2, 3)
    assert embeddings([[1, 2]], 1, "texts").tolist() == [[1, 2]]
    for wrong in (None, torch.ones(3, 3), "text", np.full((2, 3), np.nan), [[1], [2, 3]]):
        told("the encoder gave .* for 2 texts; give finite", embeddings, wrong, 2, "texts")


def test_threads_that_wait_do_not_spin():
    """Told before torch is loaded, and inherited by what is started: kernels, Ray's workers."""
    asked = "*map(os.environ.get, sys.argv[1:]), 'torch' in sys.modules"
    code = f"import os, sys, tasutils.cli; print({asked})"
    names = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    env = {key: value for key, value in os.environ.items() if key not in names}
    done = subprocess.run([sys.executable, "-c", code, *names], env=env, capture_output=True)
    assert done.stdout.split() == [b"0", b"0", b"False"]
