"""Light parts in place of networks; scenes, data sets and runs made by hand. No weights, no files.

| what | for |
|---|---|
| `HashEncoder`, `scene_of`, `ask`, `discs`, `grey` | sentences over scenes, pictures |
| `make_scene`, `make_rows`, `assert_equal` | the store |
| `FakeProposer`, `FakeEncoder`, `FakeCaptioner`, `CountingTAS`, `make_dataset`, `run_of` | runs |
| `make_pictures`, `CountingProposer`, `batch_tas` | engines, which need no sentence |
| `a_run`, `part_of` | studies of stored scores |
| `own_preset` | `kind: my_module:Mine` |
"""

import hashlib
import json
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from tasutils.config import load_preset
from tasutils.datasets.coco import load_refcoco
from tasutils.datasets.sample import ImageEntry, RefDataset, Sample
from tasutils.evaluate import evaluate_all
from tasutils.language.parse import Parser
from tasutils.refer import refer
from tasutils.runs import Run, read_run
from tasutils.scene import Proposals, Scene
from tasutils.tas import TAS as REAL_TAS

D = 16  # of embeddings
H, W = 24, 32  # px, of small pictures
SIZE_HW = (60, 80)  # of drawn ones
PARSER = Parser()
PRESET = load_preset("tiny").override({"terms.p.weight": 0.1, "terms.n.weight.default": 0.2})

# ------------------------------------------------------------------ sentences over scenes


def embed(text, d=D):
    """A fixed random direction for each text, float64 (d,), normalised."""
    seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8])
    vector = np.random.default_rng(seed).normal(size=d)
    return vector / np.linalg.norm(vector)


class HashEncoder:
    """A text tower: each text has a direction of its own; what was asked is in `batches`."""

    dim, image_size, device = D, 8, "cpu"

    def __init__(self):
        self.batches = []

    def encode_text(self, texts):
        self.batches.append(list(texts))
        return np.array([embed(text) for text in texts], np.float32).reshape(-1, D)

    def encode_images(self, images):
        raise AssertionError("refer() never looks at pictures")


class Same(HashEncoder):
    """All texts alike: only the rectifier can tell two sentences apart."""

    def encode_text(self, texts):
        return np.array([embed("same") for _ in texts], np.float32).reshape(-1, D)


TAS = SimpleNamespace(preset=PRESET, encoder=HashEncoder(), language=PARSER)


def boxes(n, seed):
    """Bool (n, H, W): small boxes at random places."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, H, W), dtype=bool)
    for mask in masks:
        y, x = rng.integers(0, H - 4), rng.integers(0, W - 5)
        mask[y : y + 4, x : x + 5] = True
    return masks


def discs(size_hw, centers_xy, radius):
    """Bool (n, H, W): discs, cut off at the border of the picture."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    found = [(x - a) ** 2 + (y - b) ** 2 <= radius**2 for a, b in centers_xy]
    return np.array(found, bool).reshape(-1, *size_hw)


MASKS = discs(SIZE_HW, [(15, 15), (60, 20), (20, 45), (65, 45), (79, 59)], 9)


def grey(size_hw):
    """Uint8 (H, W, 3)."""
    return np.full((*size_hw, 3), 128, np.uint8)


def scene_of(masks, captions=None, seed=None, phrases=("a dog", "two red cars")):
    """A scene of masks with random embeddings, by a seed or by the number of masks."""
    n, rng = len(masks), np.random.default_rng(len(masks) if seed is None else seed)
    captions = captions or [f"a thing with the number {i}" for i in range(n)]
    return Scene(
        image_id="drawn",
        size_hw=(int(masks.shape[1]), int(masks.shape[2])),
        proposals=Proposals.from_masks(masks),
        views={"crop": rng.normal(size=(n, D)).astype(np.float32)},
        captions=captions,
        captions_raw=captions,
        caption_embeddings=rng.normal(size=(n, D)).astype(np.float32),
        image_caption="a dog and two red cars",
        image_caption_raw="a dog and two red cars",
        phrases=list(phrases),
        phrase_embeddings=HashEncoder().encode_text(phrases),
        times_s={"proposals": 0.1},
        describe_digest="",
    )


def ask(scene, sentence="the cat on the left"):
    """The answer of `PRESET` with `HashEncoder`."""
    return refer(scene, sentence, HashEncoder(), PARSER, PRESET)


# ------------------------------------------------------------------ the store


def unit(rng, n, d=5):
    """Rows of length one, float32 that float16 can hold."""
    rows = rng.normal(size=(n, d)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16).astype(np.float32)


def make_scene(rng, masks, phrases, d=5, image_id="café 1"):
    """A scene of given masks with random numbers."""
    n = len(masks)
    scores = rng.random(n).astype(np.float32)
    captions = [("a red car", "", "naïve 🐈")[k % 3] for k in range(n)]
    return Scene(
        image_id=image_id,
        size_hw=masks.shape[1:],
        proposals=Proposals.from_masks(masks, scores, scores / 2),
        views={"crop": unit(rng, n, d)},
        captions=captions,
        captions_raw=[f"{caption} " for caption in captions],
        caption_embeddings=unit(rng, n, d),
        image_caption="a red car",
        image_caption_raw=" a red car",
        phrases=phrases,
        phrase_embeddings=unit(rng, len(phrases), d),
        times_s={"proposals": 0.25, "caption": 1.5},
        describe_digest="d" * 64,
    )


def make_rows(rng, masks, n, prefix="key", **options):
    """n (key, scene) pairs with 0, 1, 2, ... masks."""
    return [
        (f"{prefix}{k}", make_scene(rng, masks[: k % 4], ["a dog"] * (k % 3), **options))
        for k in range(n)
    ]


def assert_equal(a, b):
    """Two scenes are the same, types and bits."""
    for part_a, part_b in ((a, b), (a.proposals, b.proposals)):
        for name, value in vars(part_a).items():
            other = getattr(part_b, name)
            if name == "views":
                assert value.keys() == other.keys()
                for view, rows in value.items():
                    _assert_same_array(rows, other[view], view)
            elif isinstance(value, np.ndarray):
                _assert_same_array(value, other, name)
            elif name != "proposals":
                assert value == other, name
    assert np.array_equal(a.proposals.masks(), b.proposals.masks())


def _assert_same_array(a, b, name):
    assert b.dtype == a.dtype and b.shape == a.shape and np.array_equal(a, b), name


def store_differences(a, b):
    """The keys of scenes that only one of two stores has, or that differ.

    How long it took, and which of two equal pictures gave its name, is set aside.
    """
    here, there = dict(a.scenes()), dict(b.scenes())
    return sorted(here.keys() ^ there.keys()) + [
        key for key in sorted(here.keys() & there.keys()) if not _same(here[key], there[key])
    ]


def _same(a, b):
    try:
        assert_equal(replace(a, times_s={}, image_id=""), replace(b, times_s={}, image_id=""))
    except AssertionError:
        return False
    return True


# ------------------------------------------------------------------ runs

SENTENCES = ["left dog", "the dog", "dog on the right", "bottom left thing", "red car"]


def _direction(seed):
    vector = np.random.default_rng(seed).normal(size=8).astype(np.float32)
    return vector / np.linalg.norm(vector)


class FakeProposer:
    """Some boxes by the image's brightness; nothing for a white one."""

    def __call__(self, image):
        if image.min() > 250:
            return Proposals.from_masks(np.zeros((0, H, W), bool))
        rng = np.random.default_rng(int(image.sum()) % 1000)
        masks = np.zeros((7, H, W), bool)
        for k, (x, y) in enumerate(rng.integers(0, 12, (6, 2))):
            masks[k, y : y + 4 + k, x : x + 4 + k] = True
        masks[6] = masks[0]  # the last ties with the first
        return Proposals.from_masks(masks)


class FakeEncoder:
    """A direction for each crop and each text."""

    dim, image_size, device, context_length = 8, 16, "cpu", 77

    def encode_images(self, crops):
        rows = [_direction(int(crop.sum() * 100) % 10_000) for crop in crops.numpy()]
        return np.stack(rows) if rows else np.zeros((0, 8), np.float32)

    def encode_text(self, texts):
        rows = [_direction(sum(text.encode()) % 10_000) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, 8), np.float32)


class FakeCaptioner:
    """A dog and something else."""

    image_size, device = 16, "cpu"

    def caption(self, crops):
        return [f"a dog and {('cat', 'car', 'banana')[int(c.sum()) % 3]}" for c in crops.numpy()]


class CountingTAS(REAL_TAS):
    """Counts the pictures that it describes."""

    n_described = 0

    def describe(self, image, image_id=""):
        self.n_described += 1
        return super().describe(image, image_id)


def light_tas(changes=None, captioner=None):
    """`tiny` with settings changed, at work with parts that need no weights."""
    preset = load_preset("tiny").override(changes or {})
    return CountingTAS(
        preset, FakeProposer(), FakeEncoder(), captioner or FakeCaptioner(), PARSER, "cpu"
    )


def make_dataset(root, name="refscenes", split="val", sentences=SENTENCES):
    """Six images in RefCOCO's layout, the third of them white: no proposals there."""
    folder = root / name
    folder.mkdir()
    (root / "images").mkdir(exist_ok=True)
    images, annotations, refs = [], [], []
    for k in range(6):
        rng = np.random.default_rng(k)
        pixels = rng.integers(0, 255, (H, W, 3), np.uint8) if k != 2 else np.full((H, W, 3), 255)
        Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / f"{k}.png")
        images.append({"id": k, "file_name": f"{k}.png", "height": H, "width": W})
        polygon = [4, 4, 14, 4, 14, 14 + k, 4, 14 + k]
        annotations.append({"id": k, "image_id": k, "category_id": 1, "segmentation": [polygon]})
        listed = [
            {"sent_id": 10 * k + n, "sent": sent, "raw": sent, "tokens": sent.split()}
            for n, sent in enumerate(sentences)
        ]
        refs.append({"ref_id": k, "ann_id": k, "image_id": k, "category_id": 1, "split": split,
                     "file_name": "", "sent_ids": [], "sentences": listed})  # fmt: skip
    categories = [{"id": 1, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    (folder / "refs(tas).p").write_bytes(pickle.dumps(refs, 2))
    return load_refcoco(root, name, "tas", split, root / "images")


METHODS = ["tas", "clip_only", "text_only"]


class Smallest:
    """A method of one's own: the smallest mask, whatever is said."""

    name = "smallest"

    def score(self, scene, expression, image):
        return -scene.proposals.areas_px.astype(float)


def runs_of(data, tas, out, methods=METHODS, **more):
    """Each method's run."""
    folders = evaluate_all([data], tas, methods, out=out, progress=False, **more)
    return [read_run(folder) for folder in folders]


def run_of(data, tas, out, **more):
    """The run of TAS."""
    return runs_of(data, tas, out, ["tas"], **more)[0]


def edit(run, **changes):
    """Change fields of a record on disk, `a__b` for b of a; a value of ... takes the field out."""
    path = run.folder / "run.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for name, value in changes.items():
        *parents, leaf = name.split("__")
        node = content
        for parent in parents:
            node = node[parent]
        if value is ...:
            del node[leaf]
        else:
            node[leaf] = value
    path.write_text(json.dumps(content), encoding="utf-8")
    return None if "gamma" in content else read_run(run.folder)


def rewrite(run, table, name="samples", compression="snappy"):
    """Write a run's table anew, its digest into the record."""
    path = run.folder / f"{name}.parquet"
    table.to_parquet(path, index=False, compression=compression)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return edit(run, tables={**run.record.tables, path.name: digest})


# ------------------------------------------------------------------ engines


class Words:
    """A language side that needs no model: every word is a phrase."""

    def noun_chunks(self, text, pronouns=False):
        return text.split()


class CountingProposer(FakeProposer):
    """Counts the pictures that it begins, and then calls a function with their number."""

    def __init__(self, begun=lambda n: None):
        self.n, self.begun = 0, begun

    def __call__(self, image):
        self.n += 1
        self.begun(self.n)
        return super().__call__(image)


def batch_tas(begun=lambda n: None, language=None):
    """`tiny` in batches of three with light parts; begun: see `CountingProposer`."""
    preset = load_preset("tiny").override({"compute.image_batch": 3})
    proposer, words = CountingProposer(begun), language or Words()
    return REAL_TAS(preset, proposer, FakeEncoder(), FakeCaptioner(), words, device="cpu")


def make_pictures(folder, n, name="drawn", split="val"):
    """A data set of n pictures, one sentence each."""
    folder.mkdir(exist_ok=True)
    images, samples = {}, []
    for k in range(n):
        pixels = np.random.default_rng(k).integers(0, 255, (H, W, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
        images[f"image {k}"] = ImageEntry(folder / f"{k}.png", (H, W))
        samples.append(Sample(str(k), f"image {k}", str(k), "0", "a", "a", "dog", split))
    return RefDataset(name, split, tuple(samples), images, "", lambda _: np.zeros((H, W), bool))


# ------------------------------------------------------------------ studies

AREA = 100
CONFIG = {
    "language": {"spacy_model": "en_core_web_sm", "synonym_rule": "nearest"},
    "rectifier": {"form": "extended"}, "captioner": {"kind": "image_to_text"},
}  # fmt: skip


def a_run(samples, scores, alpha=0.5, lam=0.8, config=None, **facts):
    """A run of two tables; in scores v, p and n stand for term_v, term_p and term_n."""
    record = SimpleNamespace(**{
        "run_id": "hand", "created": "", "method": "tas", "preset": "tiny",
        "dataset": "refscenes", "split": "val", "split_by": "", "partial": True,
        "n_used": len(samples), "n_total": 99, "n_images": samples["image_id"].nunique(),
        "n_images_total": 500, "n_without_mask": 0, "n_without_proposals": 0, "index_digest": "",
        "weights": {"v": 1.0, "p": alpha, "n": lam}, "config": CONFIG | (config or {}), **facts,
    })  # fmt: skip
    run = Run(Path("hand"), record)
    terms = {name: f"term_{name}" for name in "vpn"}
    run.__dict__.update(samples=samples, scores=scores.rename(columns=terms))
    return run


def part_of(sentences, config=None, family="refscenes", alpha=0.5, lam=0.8):
    """A run of sentences, each a dict of masks (v, p, n, inside, pixels) and columns of samples."""
    samples, scores = [], []
    for i, sentence in enumerate(sentences):
        masks = sentence["masks"]
        ious = [inter / union for *_, (inter, union) in masks]
        best = masks[int(np.argmax(ious))][-1] if masks else (0, AREA)
        samples.append({
            "sample_id": f"s{i}", "image_id": f"image {i // 2}", "ref_id": f"r{i}",
            "text": f"dog {i}", "raw": f"Dog {i}.", "gt_area_px": AREA,
            "oracle_intersection_px": best[0], "oracle_union_px": best[1],
            **{name: value for name, value in sentence.items() if name not in ("masks", "unread")},
        })  # fmt: skip
        for k, (v, p, n, inside, (inter, union)) in enumerate(masks):
            if not sentence.get("unread"):
                scores.append({
                    "sample_id": f"s{i}", "proposal": k, "v": v, "p": p, "n": n, "region": inside,
                    "intersection_px": inter, "union_px": union, "gt_area_px": AREA,
                })  # fmt: skip
    columns = ["sample_id", "proposal", "v", "p", "n", "region", "intersection_px", "union_px"]
    frame = pd.DataFrame(scores, columns=[*columns, "gt_area_px"])
    return a_run(pd.DataFrame(samples), frame, alpha, lam, config, dataset=family, run_id=family)


# ------------------------------------------------------------------ kind: my_module:Mine

MINE = """
import numpy as np
from tasutils.config import CaptionerSettings

class Mine(CaptionerSettings):
    kind: str = "my_captions:Mine"
    words: str = "a mine"
    def make(self, device, compute):
        words = self.words
        class Captioner:
            image_size, device = 8, "cpu"
            def caption(self, crops):
                return [words] * len(crops)
        return Captioner()
"""


def own_preset(folder):
    """A preset file beside a module whose captioner it names; returns its path."""
    (folder / "my_captions.py").write_text(MINE)
    data = load_preset("tiny").model_dump() | {"name": "mine"}
    data["captioner"] = {"kind": "my_captions:Mine", "words": "a mine"}
    data["sources"], data["assumed"], data["reasons"] = {}, [], {}
    (folder / "mine.yaml").write_text(yaml.safe_dump(data))
    return folder / "mine.yaml"
