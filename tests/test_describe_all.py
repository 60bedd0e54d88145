"""Several images described together give the scenes they give alone; memory, precision, digests."""

import dataclasses

import numpy as np
import pytest
import small_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasutils import describe as module
from tasutils.captioners import CaptionerConfig, ImageToTextCaptioner
from tasutils.compute import FEWEST, Batches, is_out_of_memory, unit_rows
from tasutils.config import ComputeConfig, load_preset
from tasutils.describe import describe_again, describe_all
from tasutils.encoders import EncoderConfig
from tasutils.encoders.openclip import OpenClipEncoder
from tasutils.errors import TasError
from tasutils.scene import STAGES, Proposals
from tasutils.tas import TAS

TINY = load_preset("tiny")
LONG = "a long red car on the left of the dog and the other dog on the right of it"


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    return small_models.write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def blip2(tmp_path_factory):
    return small_models.write_blip2(tmp_path_factory.mktemp("blip2"))


@pytest.fixture(scope="module")
def encoder(clip_file):
    return OpenClipEncoder(EncoderConfig(model="test-ViT", checkpoint=str(clip_file)))


@pytest.fixture(scope="module")
def captioner(blip2):
    return ImageToTextCaptioner(
        CaptionerConfig(checkpoint=str(blip2), num_beams=2, max_new_tokens=6),
        compute=ComputeConfig(caption_batch=5),
    )


class Words:
    """Every word of a caption is a phrase; a long one too, so that lengths differ."""

    def noun_chunks(self, text, pronouns=False):
        return [*text.split(), LONG]


class Boxes:
    """So many random boxes as the picture's first value says; counts its calls."""

    def __init__(self):
        self.n_calls = 0

    def __call__(self, image):
        self.n_calls += 1
        n, rng = int(image[0, 0, 0]), np.random.default_rng(int(image[0, 0, 1]))
        masks = np.zeros((n, *image.shape[:2]), bool)
        for mask in masks:
            (y, x), (h, w) = rng.integers(0, [image.shape[0] - 2, image.shape[1] - 2]), (2, 2)
            h, w = rng.integers(1, 30, 2)
            mask[y : y + h, x : x + w] = True
        found = Proposals.from_masks(masks)
        return dataclasses.replace(found, device_masks=torch.from_numpy(masks))


def image_of(seed, n):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*rng.integers(20, 70, 2), 3), dtype=np.uint8)
    image[0, 0] = n, seed % 256, 0
    return image


COUNTS = [3, 0, 5, 1, 8, 2]  # of masks
IMAGES = [image_of(seed, n) for seed, n in enumerate(COUNTS)]


def parts(encoder, captioner, preset=TINY):
    return {"proposer": Boxes(), "encoder": encoder, "captioner": captioner, "language": Words(),
            "preset": preset}  # fmt: skip


def fields_of(scene):
    found = {f.name: getattr(scene, f.name) for f in dataclasses.fields(scene)}
    found.pop("times_s")
    proposals = found.pop("proposals")
    return found | found.pop("views") | {"rles": proposals.rles, "boxes": proposals.boxes_xyxy}


def same(a, b):
    """Bit for bit, but for the times."""
    one, other = fields_of(a), fields_of(b)
    return all(
        np.array_equal(one[name], other[name]) and type(one[name]) is type(other[name])
        for name in one
    )


@pytest.fixture(scope="module")
def alone(encoder, captioner):
    return [describe_all([image], **parts(encoder, captioner))[0] for image in IMAGES]


@settings(max_examples=4, deadline=None)
@given(order=st.permutations(range(len(IMAGES))), together=st.integers(1, 6), n=st.integers(0, 6))
def test_a_scene_does_not_hang_on_the_images_beside_it(
    encoder, captioner, alone, order, together, n
):
    preset = TINY.override({"compute.image_batch": together})
    order, names = order[:n], [f"picture {i}" for i in order[:n]]
    scenes = describe_all(
        [IMAGES[i] for i in order], **parts(encoder, captioner, preset), image_ids=names
    )
    assert [scene.image_id for scene in scenes] == names
    for i, scene in zip(order, scenes, strict=True):
        assert same(dataclasses.replace(scene, image_id=""), alone[i])
        assert tuple(scene.times_s) == STAGES and min(scene.times_s.values()) >= 0


@pytest.mark.parametrize(
    "changes",
    [{"crop.pad_square": False}, {"language.clean_captions": False}, {"crop.fill": "mean"}],
)
def test_described_again_is_described_anew(encoder, captioner, alone, changes):
    preset = TINY.override(changes)
    few, before = IMAGES[:3], alone[:3]
    anew = describe_all(few, **parts(encoder, captioner, preset))
    for image, old, new in zip(few, before, anew, strict=True):
        given = {"encoder": encoder, "language": Words(), "preset": preset}
        again = describe_again(old, image, **given)
        assert same(again, new) and set(again.times_s) == set(STAGES)
        if "crop" not in str(changes):
            assert same(describe_again(old, image, **given, read_only=True), new)
    changed = [not same(a, b) for a, b in zip(before, anew, strict=True)]
    assert any(changed), "the change is seen"


def test_embeddings_are_numbers_of_float16_and_masks_are_released(alone):
    for scene in alone:
        assert scene.proposals.device_masks is None
        for name in ("crop_embeddings", "caption_embeddings", "phrase_embeddings"):
            rows = getattr(scene, name)
            assert rows.dtype == np.float32 and rows.flags.owndata
            assert np.array_equal(rows, rows.astype(np.float16))
            norms = np.linalg.norm(rows, axis=1)
            assert ((abs(norms - 1) < 1e-3) | (norms == 0)).all()


class Counting:
    """A part that counts what it is asked."""

    def __init__(self, part):
        self.part, self.asked = part, []

    def __getattr__(self, name):
        return getattr(self.part, name)

    def encode_images(self, crops):
        self.asked.append(("crops", len(crops)))
        return self.part.encode_images(crops)

    def encode_text(self, texts):
        self.asked.append(("texts", len(texts), len(set(texts))))
        return self.part.encode_text(texts)

    def caption(self, crops):
        self.asked.append(("captions", len(crops)))
        return self.part.caption(crops)


def test_each_network_is_asked_once_and_nothing_twice(encoder, captioner, monkeypatch):
    import cv2

    blurs, blur = [], cv2.GaussianBlur
    monkeypatch.setattr(cv2, "GaussianBlur", lambda *a: blurs.append(a) or blur(*a))
    monkeypatch.setattr(Proposals, "masks", lambda self: pytest.fail("decoded a second time"))
    eyes, mouth = Counting(encoder), Counting(captioner)
    preset = TINY.override({"crop.fill": "blur", "captioner.crop.fill": "blur"})
    proposer = Boxes()
    describe_all(IMAGES, **parts(eyes, mouth, preset) | {"proposer": proposer})
    n = sum(COUNTS)
    assert proposer.n_calls == len(IMAGES) == len(blurs) // 2 + 1, "one picture has no mask to blur"
    assert [kind for kind, *_ in eyes.asked] == ["crops", "texts"] and eyes.asked[0] == ("crops", n)
    _, n_texts, n_unlike = eyes.asked[1]  # blank ones fill up what are too few
    assert n_texts == max(n_unlike, FEWEST), "a text that comes again is not embedded again"
    assert mouth.asked == [("captions", n + len(IMAGES))]


def test_equal_crops_are_made_once(encoder, captioner, monkeypatch):
    from tasutils import crops

    made, real = [], crops.masked_crops
    counted = lambda *a: made.append(a[3:5]) or real(*a)  # noqa: E731
    monkeypatch.setattr(crops, "masked_crops", counted)
    monkeypatch.setitem(crops.VIEWS, "crop", counted)
    alike = Counting(captioner)
    alike.image_size = encoder.image_size
    alike.caption = lambda crops: ["a dog"] * len(crops)
    describe_all(IMAGES[:2], **parts(encoder, alike))
    assert made == [(encoder.image_size, TINY.crop)] * 2
    describe_all(IMAGES[:2], **parts(encoder, captioner))
    assert len(made) == 6


def test_tas_reads_pictures_and_names_must_fit(encoder, captioner, alone):
    tas = TAS(TINY, Boxes(), encoder, captioner, Words(), "cpu")
    scenes = tas.describe_all([image.astype(np.uint16) * 257 for image in IMAGES[:2]], ["a", "b"])
    assert [scene.image_id for scene in scenes] == ["a", "b"]
    assert np.array_equal(scenes[0].crop_embeddings, alone[0].crop_embeddings)
    assert same(tas.describe(IMAGES[2]), alone[2])
    assert tas.describe_all([]) == []
    with pytest.raises(ValueError, match="2 images have 1 names"):
        module.describe_all(IMAGES[:2], **parts(encoder, captioner), image_ids=["a"])


# --- memory ---


class Greedy(torch.nn.Module):
    """A network whose workspace grows with its batch; more than `most` items do not fit."""

    def __init__(self, most, error):
        super().__init__()
        self.linear = torch.nn.Linear(3, 5)
        self.most, self.error, self.sizes = most, error, []

    def forward(self, x):
        self.sizes.append(len(x))
        if len(x) > self.most:
            self.error()
        return self.linear(x)


def allocate():
    """What PyTorch's own CPU allocator says to 4 EiB."""
    torch.empty(1 << 60, dtype=torch.float32)


def raise_cuda():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def raise_python():
    raise MemoryError


@pytest.mark.parametrize("error", [allocate, raise_cuda, raise_python])
@settings(max_examples=15, deadline=None)
@given(n=st.integers(0, 70), size=st.integers(1, 40), most=st.integers(1, 40))
def test_batches_halve_go_on_and_stay_halved(error, n, size, most):
    network, x = Greedy(most, error), torch.arange(3.0 * n).reshape(n, 3)
    batches = Batches("the network", size)
    found = unit_rows(x, network, batches, 5)
    with torch.no_grad():
        wanted = torch.nn.functional.normalize(network.linear(x), dim=-1)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)
    n_failed = sum(s > most for s in network.sizes)
    assert sum(s for s in network.sizes if s <= most) == n and n_failed <= 6
    assert max((s for s in network.sizes if s <= most), default=0) <= batches.size <= size
    again, network.sizes = batches.size, []
    unit_rows(x, network, batches, 5)
    assert batches.size == again and all(s <= most for s in network.sizes)
    assert max(network.sizes, default=0) - min(network.sizes, default=0) <= 1


@pytest.mark.parametrize("error", [allocate, raise_cuda, raise_python])
def test_one_item_that_does_not_fit_is_told_in_one_line(error):
    with pytest.raises(TasError, match="the network runs out of memory on cpu") as told:
        Batches("the network", 8)([1, 2, 3], lambda items: error())
    assert "\n" not in str(told.value) and "precision" in str(told.value)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def broken(items):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    batches = Batches("the network", 8)
    with pytest.raises(RuntimeError, match="shapes"):
        batches([1, 2, 3], broken)
    assert batches.size == 8 and not is_out_of_memory(KeyError("not enough memory"))


def test_describe_goes_on_where_memory_ends(clip_file, blip2, alone):
    encoder = OpenClipEncoder(EncoderConfig(model="test-ViT", checkpoint=str(clip_file)))
    captioner = ImageToTextCaptioner(
        CaptionerConfig(checkpoint=str(blip2), num_beams=2, max_new_tokens=6)
    )

    def scarce(self, arguments, most):
        if len(arguments[0]) > most:
            allocate()

    encoder.model.visual.register_forward_pre_hook(lambda m, a: scarce(m, a, 10))
    tower = captioner.model.get_submodule("vision_model.embeddings")
    tower.register_forward_pre_hook(lambda m, a: scarce(m, a, 5))
    scenes = describe_all(IMAGES, **parts(encoder, captioner))
    assert encoder.crop_batches.size == sum(COUNTS) // 2 and captioner.batches.size < 16
    for scene, wanted in zip(scenes, alone, strict=True):
        assert scene.captions_raw == wanted.captions_raw
        np.testing.assert_allclose(scene.crop_embeddings, wanted.crop_embeddings, atol=1e-3)


# --- precision, layout, compilation ---


def test_precision_is_of_the_networks_and_of_the_digest(clip_file, blip2, alone):
    digests = {TINY.describe_digest()}
    for precision in ("float16", "bfloat16"):
        compute = ComputeConfig(precision=precision)
        encoder = OpenClipEncoder(
            EncoderConfig(model="test-ViT", checkpoint=str(clip_file)), compute=compute
        )
        captioner = ImageToTextCaptioner(
            CaptionerConfig(checkpoint=str(blip2), max_new_tokens=6), compute=compute
        )
        assert captioner.model.language_model.dtype == getattr(torch, precision)
        assert encoder.model.logit_scale.dtype == torch.float32, "peers use the weights as well"
        preset = TINY.override({"compute.precision": precision})
        digests.add(preset.describe_digest())
        scene = describe_all(IMAGES[:1], **parts(encoder, captioner, preset))[0]
        assert scene.crop_embeddings.dtype == np.float32 and len(scene.captions) == COUNTS[0]
        off = np.abs(scene.crop_embeddings - alone[0].crop_embeddings).max()
        assert 0 < off < 0.05
    assert len(digests) == 3


def test_what_only_costs_or_saves_is_not_in_the_digest():
    changes = {"compute.compile": True, "compute.channels_last": True, "compute.crop_batch": 1}
    changes |= {"compute.image_batch": 2, "compute.caption_batch": 3, "compute.text_batch": 4}
    other = TINY.override(changes)
    assert other.describe_digest() == TINY.describe_digest() and other.digest() != TINY.digest()
    for wrong in ({"compute.crop_batch": 0}, {"compute.precision": "float8"}):
        with pytest.raises(TasError, match="compute"):
            TINY.override(wrong)


def test_channels_last_changes_no_result(clip_file, encoder):
    other = OpenClipEncoder(encoder.config, compute=ComputeConfig(channels_last=True))
    weight = other.model.visual.conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    crops = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(other.encode_images(crops), encoder.encode_images(crops), atol=1e-6)


def test_compile_is_asked_of_the_image_towers_alone(clip_file, blip2, monkeypatch):
    """Whether the compiler is there or not: what it makes is PyTorch's own affair."""
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: asked.append(type(self).__name__))
    compute = ComputeConfig(compile=True)
    config = EncoderConfig(model="test-ViT", checkpoint=str(clip_file))
    OpenClipEncoder(config, compute=compute)
    ImageToTextCaptioner(CaptionerConfig(checkpoint=str(blip2)), compute=compute)
    assert asked == ["VisionTransformer", "Blip2VisionModel"]
