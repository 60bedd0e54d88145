"""The same run gives the same bytes, however it is cut up; other arithmetic, the same choices."""

import copy

import pytest
import torch

from tasutils.compare import TOLERANCE
from tasutils.config import load_preset
from tasutils.datasets import load_dataset
from tasutils.describe import describe_again
from tasutils.engines import describe_dataset
from tasutils.evaluate import evaluate
from tasutils.images import read_image
from tasutils.refer import refer
from tasutils.store import SceneStore
from tasutils.tas import TAS

N_PICTURES = 3
#: sizes of batches, and the number of shards that are described apart
BATCHES = {
    "twos, of text seven": ({"crop": 2, "caption": 2, "text": 7, "image": 2}, 2),
    "eights": ({"crop": 8, "caption": 8, "text": 8, "image": 8}, 1),
}


@pytest.fixture(scope="module")
def data():
    return load_dataset("refscenes", "testS")


@pytest.fixture(scope="module")
def tas():
    return TAS(load_preset("tiny"), device="cpu")


def with_batches(tas, sizes):
    """The same networks, loaded once, in batches of other sizes."""
    preset = tas.preset.override({f"compute.{name}_batch": n for name, n in sizes.items()})
    assert preset.describe_digest() == tas.preset.describe_digest()
    encoder, captioner = copy.copy(tas.encoder), copy.copy(tas.captioner)
    for part, name, size in (
        (encoder, "crop_batches", "crop"),
        (encoder, "text_batches", "text"),
        (captioner, "batches", "caption"),
    ):
        batches = copy.copy(getattr(part, name))
        batches.size = sizes[size]
        setattr(part, name, batches)
    return TAS(preset, tas.proposer, encoder, captioner, tas.language, "cpu")


@pytest.fixture(scope="module")
def files_of(data, tmp_path_factory):
    """The bytes of both tables of a run, over scenes in a store if one is given."""

    def run(tas, store=None):
        out = tmp_path_factory.mktemp("runs")
        folder = evaluate(data, tas, limit_images=N_PICTURES, out=out, store=store, progress=False)
        return [(folder / name).read_bytes() for name in ("samples.parquet", "scores.parquet")]

    return run


@pytest.fixture(scope="module")
def plain(files_of, tas):
    return files_of(tas)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", BATCHES)
def test_batches_and_shards_change_no_byte(data, tas, plain, files_of, tmp_path, sizes):
    """Described together, or in two shards and in batches: the same files."""
    batches, n_shards = BATCHES[sizes]
    other, store = with_batches(tas, batches), SceneStore(tmp_path / "scenes")
    for shard in [(k, n_shards) for k in range(n_shards)] if n_shards > 1 else [None]:
        done = describe_dataset(
            data, other, store, shard=shard, limit_images=N_PICTURES, progress=False
        )
        assert done.n_had == 0 and done.n_done in {
            N_PICTURES // n_shards,
            -(-N_PICTURES // n_shards),
        }
    assert len(store.keys()) == N_PICTURES
    assert files_of(other, SceneStore(tmp_path / "scenes")) == plain


@pytest.mark.slow
def test_other_arithmetic_chooses_the_same_beyond_the_tolerance(data, tas):
    """Networks in float64 stand for another device: no rounding of theirs is that of float32."""
    double = copy.copy(tas.encoder)
    double.model = copy.deepcopy(tas.encoder.model).double()
    double.pixel_values = lambda crops: tas.encoder.pixel_values(crops).double()
    preset, compared = tas.preset, {"same": 0, "close": 0}
    for samples in list(data.by_image().values())[:N_PICTURES]:
        image = read_image(data.image_path(samples[0].image_id))
        scene = tas.describe(image)
        again = describe_again(scene, image, encoder=double, language=tas.language, preset=preset)
        assert (again.crop_embeddings != scene.crop_embeddings).any()
        for sample in samples:
            one = tas.refer(scene, sample.text, dataset=data.name)
            other = refer(again, sample.text, double, tas.language, preset, dataset=data.name)
            assert abs(one.total - other.total).max() < TOLERANCE / 2
            pool = sorted(one.total[one.in_region] if one.in_region.any() else one.total)
            close = len(pool) > 1 and pool[-1] - pool[-2] <= TOLERANCE
            compared["close" if close else "same"] += 1
            assert close or one.best == other.best, sample.text
    assert compared["same"] > 10, compared


@pytest.mark.slow
def test_threads_change_no_embedding(data, tas):
    samples = next(iter(data.by_image().values()))
    image = read_image(data.image_path(samples[0].image_id))
    before, scenes = torch.get_num_threads(), []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            scenes.append(tas.describe(image))
    finally:
        torch.set_num_threads(before)
    one, other = scenes
    assert one.proposals.rles == other.proposals.rles and one.captions == other.captions
    assert abs(one.crop_embeddings - other.crop_embeddings).max() < TOLERANCE
    assert abs(one.caption_embeddings - other.caption_embeddings).max() < TOLERANCE
