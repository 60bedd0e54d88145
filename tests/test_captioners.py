"""Captioners: the same words as transformers' own pipeline on random weights, and bad folders."""

import json
import shutil

import numpy as np
import pytest
import small_models
import torch
import transformers as t
from PIL import Image
from safetensors.torch import load_file, save_file

from tasutils.captioners import CaptionerConfig, ImageToTextCaptioner, captions, check_captioner
from tasutils.config import ComputeConfig
from tasutils.errors import TasError

MODELS = {
    "blip2": (small_models.write_blip2, t.Blip2ForConditionalGeneration),
    "blip": (small_models.write_blip, t.BlipForConditionalGeneration),
    "vit_gpt2": (small_models.write_vit_gpt2, t.VisionEncoderDecoderModel),
    "git": (small_models.write_git, t.GitForCausalLM),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: write(tmp_path_factory.mktemp(name)) for name, (write, _) in MODELS.items()}


@pytest.fixture(scope="module")
def pictures():
    """Uint8 (6, 48, 48, 3): noise of many brightnesses."""
    rng = np.random.default_rng(5)
    noise = rng.random((6, 48, 48, 3)) * rng.random((6, 1, 1, 3)) + rng.random((6, 1, 48, 3)) / 2
    return (255 * noise.clip(0, 1)).astype(np.uint8)


def as_crops(pictures):
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def make(folder, batch=16, precision="float32", **settings):
    return ImageToTextCaptioner(
        CaptionerConfig(checkpoint=str(folder), **{"max_new_tokens": 9} | settings),
        compute=ComputeConfig(caption_batch=batch, precision=precision),
    )


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_captions_are_transformers_own(folders, pictures, name, beams):
    """The library's processor on PIL pictures and its generate, one picture at a time."""
    folder, kind = folders[name], MODELS[name][1]
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    processor = t.AutoImageProcessor.from_pretrained(folder)
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    own = []
    for picture in pictures:
        inputs = processor(images=Image.fromarray(picture), return_tensors="pt")
        tokens = model.generate(
            **inputs, num_beams=beams, do_sample=False, max_new_tokens=9, min_new_tokens=1
        )
        own.append(tokenizer.decode(tokens[0], skip_special_tokens=True).strip())
    captioner = make(folder, num_beams=beams)
    assert captioner.caption(as_crops(pictures)) == own
    assert len(set(own)) > 1, "captions that hang on the picture"
    inputs = processor(images=[Image.fromarray(p) for p in pictures], return_tensors="pt")
    seen = captioner.pixel_values(as_crops(pictures))
    assert (seen - inputs["pixel_values"]).abs().max() < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_batches_order_and_no_picture(folders, pictures, name):
    crops = as_crops(pictures)
    captioner = make(folders[name], batch=4)
    assert captioner.image_size == 48
    texts = captioner.caption(crops)
    assert len(texts) == 6 and not any("<" in text or "[" in text for text in texts)
    assert make(folders[name]).caption(crops.flip(0)) == texts[::-1]
    assert captioner.caption(crops[:0]) == []


def test_lengths_are_kept(folders, pictures):
    """With the word that it likes best as the end of a caption."""
    crops = as_crops(pictures)
    spoken = " ".join(make(folders["vit_gpt2"]).caption(crops)).split()
    end = max(set(spoken), key=spoken.count)
    for least in (1, 9):
        captioner = make(folders["vit_gpt2"], min_length=least)
        captioner.model.generation_config.eos_token_id = small_models.WORDS.index(end)
        texts = captioner.caption(crops)
        assert any(end in text.split() for text in texts) == (least == 1)
        assert max(len(text.split()) for text in texts) <= 9


def test_image_tokens_are_no_words(folders, tmp_path, pictures):
    """Of a tokenizer that does not know "<image>" to be special."""
    folder, crops = copied(folders, tmp_path), as_crops(pictures)
    for file in folder.glob("*token*"):
        file.unlink()
    small_models.write_words(folder, image_token=False)
    assert make(folder).caption(crops) == make(folders["blip2"]).caption(crops)


def copied(folders, tmp_path, name="blip2"):
    return shutil.copytree(folders[name], tmp_path / name)


def refused(folder, match):
    with pytest.raises(TasError, match=match) as error:
        make(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_damaged_folders_and_folders_without_their_parts(folders, tmp_path):
    refused(tmp_path / "absent", "no captioner folder")
    for victim in ("config.json", "model.safetensors", "tokenizer.json"):
        folder = copied(folders, tmp_path / victim)
        (folder / victim).write_bytes((folder / victim).read_bytes()[:500])
        refused(folder, "damaged|tokenizer")
    folder = copied(folders, tmp_path / "parts", "blip")
    (folder / "preprocessor_config.json").unlink()
    refused(folder, "preprocessor_config")
    for file in folder.glob("*token*"):
        file.unlink()
    (folder / "vocab.txt").unlink()
    refused(folder, "no usable tokenizer")
    path = copied(folders, tmp_path) / "model.safetensors"
    state = load_file(path)
    state.pop("query_tokens")
    path.unlink()
    save_file(state, path, metadata={"format": "pt"})
    refused(path.parent, "query_tokens")


def test_size_of_processor_and_model(folders, tmp_path):
    folder = copied(folders, tmp_path)
    path = folder / "preprocessor_config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"size": {"height": 64, "width": 64}}))
    refused(folder, "64 px, its model takes 48")


def test_weights_of_older_files(folders, tmp_path, pictures):
    """A .bin of tensors, as nlpconnect/vit-gpt2-image-captioning has it, is read."""
    folder = copied(folders, tmp_path, "vit_gpt2")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    crops = as_crops(pictures)
    assert make(folder).caption(crops) == make(folders["vit_gpt2"]).caption(crops)


def test_a_captioner_of_ones_own():
    class Mute:
        def caption(self, crops):
            return None

    with pytest.raises(TasError, match="captioner Mute has no image_size; give it") as error:
        check_captioner(Mute())
    assert captions(("a dog", "a cat"), 2) == ["a dog", "a cat"] and captions([], 0) == []
    for wrong, what in ((None, "1 of NoneType"), (["a"], "1 of str"), ([1, 2], "2 of int")):
        with pytest.raises(TasError, match=f"gave {what} for 2 pictures") as error:
            captions(wrong, 2)
        assert "\n" not in str(error.value)
