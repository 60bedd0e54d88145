"""Each door takes a variant of one's own, made at run time in a few lines, and all know it.

One entry is enough: evaluate, sweep, tables, charts and the Explorer take it up by its name. A
preset's `kind: my_module:Mine` does the same, and reaches other processes.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import yaml
from light import HashEncoder, light_tas, own_preset

import tasutils
from tasutils.config import CaptionerSettings, EncoderSettings, Part, ProposerSettings, load_preset
from tasutils.datasets import DataSet, RefDataset
from tasutils.errors import TasError
from tasutils.evaluate import evaluate, evaluate_all
from tasutils.refer import Answer
from tasutils.runs import read_run
from tasutils.scene import Scene
from tasutils.terms import TERMS, Term

SENTENCE = "the dog on the right"


def scene_and_tas(make_tas, dataset, changes=None):
    """One described picture, and what described it."""
    tas = make_tas(changes) if changes else make_tas()
    return tas.describe(dataset.image_path(dataset.image_ids[0])), tas


# ---------------------------------------------------------------- terms, with settings and phrases


class BigSettings(Part):
    """What a preset can say of the term."""

    power: float = 1.0


def big(scene, expression, texts, settings):
    """1 for the largest mask, 0 where the sentence does not say big."""
    if "big" not in expression.text:
        return np.zeros(len(scene.proposals))
    return (scene.proposals.areas_px / scene.proposals.areas_px.max()) ** settings.power


@pytest.fixture
def big_term(monkeypatch):
    monkeypatch.setitem(TERMS, "big", Term(big, settings=BigSettings))
    return {"terms.big": {"weight": 5.0, "power": 2.0}}


def test_a_term(big_term, make_tas, dataset, tmp_path):
    scene, tas = scene_and_tas(make_tas, dataset, big_term)
    plain, asked = tas.refer(scene, "the dog"), tas.refer(scene, "the big dog")
    assert list(asked.terms) == list(asked.weights) == ["v", "p", "n", "big"]
    assert (plain.terms["big"] == 0).all() and asked.terms["big"].max() == 1
    assert asked.best == scene.proposals.areas_px.argmax() and "5 x BIG 1.000" in asked.reason
    assert "big" in asked.table().columns
    off = tas.refer(scene, "the big dog", weights={"big": 0})
    assert np.allclose(off.total, asked.total - 5 * asked.terms["big"])
    run = read_run(evaluate(dataset, tas, progress=False, out=tmp_path / "runs"))
    assert "term_big" in run.scores and run.record.weights["big"] == 5.0
    with pytest.raises(TasError, match="term big: .*power"):
        make_tas({"terms.big": {"weight": 1, "power": "much"}})
    with pytest.raises(TasError, match="no term|TERMS"):
        make_tas({"terms.nobody": 1})


def test_a_new_term_in_sweep_tables_and_charts(big_term, make_tas, dataset, tmp_path):
    from tasutils import charts, study
    from tasutils.sweep import sweep

    tas = make_tas(big_term)
    run = read_run(evaluate(dataset, tas, progress=False, out=tmp_path / "runs"))
    grid = sweep([run], {"big": [0.0, 1.0]})
    assert set(grid["weight_big"]) == {0.0, 1.0}
    table = study.ablation([run], 20)
    assert any("BIG" in variant for variant in table["variant"])
    assert charts.ablation_plot(table).png().startswith(b"\x89PNG")
    scene = tas.describe(dataset.image_path(dataset.image_ids[0]))
    answer = tas.refer(scene, "the big dog")
    assert charts.score_bars(answer).png().startswith(b"\x89PNG")
    assert "big" in answer.table()


# ---------------------------------------------------------------- views


def test_a_view(monkeypatch, make_tas, dataset):
    from tasutils.crops import VIEWS

    def box_unmasked(image, masks, boxes_xyxy, size, config, device="cpu"):
        return VIEWS["crop"](image, np.ones_like(masks), boxes_xyxy, size, config, device)

    monkeypatch.setitem(VIEWS, "box", box_unmasked)
    term = Term(lambda scene, *_: scene.views["box"].sum(axis=1), views=("box",))
    monkeypatch.setitem(TERMS, "context", term)
    plain, _ = scene_and_tas(make_tas, dataset)
    scene, tas = scene_and_tas(make_tas, dataset, {"terms.context": 1.0})
    assert set(plain.views) == {"crop"} and set(scene.views) == {"crop", "box"}
    assert scene.views["box"].shape == scene.crop_embeddings.shape
    assert tas.preset.describe_digest() != make_tas().preset.describe_digest()
    assert tas.refer(scene, SENTENCE).terms["context"].shape == (len(scene.proposals),)
    with pytest.raises(TasError, match="box"):
        tas.refer(plain, SENTENCE)


# ---------------------------------------------------------------- rules, forms, methods


def test_a_synonym_rule(monkeypatch, make_tas, dataset, tmp_path):
    from tasutils.language import SYNONYM_RULES, Verdict

    def nobody(phrase, target, parser, threshold):
        return Verdict(phrase, 1.0, False, "nothing is a negative")

    monkeypatch.setitem(SYNONYM_RULES, "nobody", nobody)
    scene, tas = scene_and_tas(make_tas, dataset, {"language.synonym_rule": "nobody"})
    assert tas.refer(scene, SENTENCE).negatives == ()
    run = read_run(evaluate(dataset, make_tas(), progress=False, out=tmp_path / "runs"))
    assert (run.scores["alt_n_nobody"] == 0).all()


def test_a_form_of_the_rectifier(monkeypatch, make_tas, dataset, tmp_path):
    from tasutils.rectifier import RECTIFIERS, Rectifier

    def nowhere(points, size_hw, asked, cut, centers):
        return np.zeros(len(points), bool), np.zeros(len(points), bool)

    form = Rectifier(RECTIFIERS["extended"].read, nowhere)
    monkeypatch.setitem(RECTIFIERS, "nowhere", form)
    scene, tas = scene_and_tas(make_tas, dataset, {"rectifier.form": "nowhere"})
    answer = tas.refer(scene, SENTENCE)
    assert not answer.in_region.any() and answer.best == answer.unrectified
    run = read_run(evaluate(dataset, make_tas(), progress=False, out=tmp_path / "runs"))
    assert not run.scores["region_nowhere"].any()


class Largest:
    """A method that scores: the largest mask."""

    name = "largest"

    def score(self, scene, expression, image):
        return scene.proposals.areas_px.astype(float)


class Everything:
    """A method that draws its own mask: the whole picture, or nothing for "nobody"."""

    name = "everything"

    def answer(self, scene, expressions, image):
        from tasutils.masks import encode_rle

        whole = encode_rle(np.ones((1, *scene.size_hw), bool))[0]
        return [
            Answer(e, scene, (), own_mask=None if "nobody" in e.text else whole, confidence=0.5)
            for e in expressions
        ]


def test_methods_that_score_and_that_draw(monkeypatch, make_tas, dataset, tmp_path):
    from tasutils.baselines import METHODS

    monkeypatch.setitem(METHODS, "largest", Largest)
    monkeypatch.setitem(METHODS, "everything", Everything)
    methods = ("tas", "largest", "everything")
    folders = evaluate_all([dataset], make_tas(), methods, progress=False, out=tmp_path / "runs")
    runs = [read_run(folder) for folder in folders]
    assert [run.record.method for run in runs] == list(methods)
    drawn = runs[2].samples
    areas = [np.prod(dataset.size_hw(i)) for i in drawn["image_id"]]
    assert (drawn["union_px"] == areas).all() and (
        drawn["intersection_px"] == drawn["gt_area_px"]
    ).all()


# ---------------------------------------------------------------- proposer, encoder, captioner


class Stripes(ProposerSettings):
    """A proposer in a few lines: vertical stripes."""

    kind: str = "stripes"
    n: int = 4

    def make(self, overlap, device, compute):
        def propose(image):
            columns = np.arange(image.shape[1]) * self.n // image.shape[1]
            return np.stack([np.broadcast_to(columns == k, image.shape[:2]) for k in range(self.n)])

        return propose


class Hashing(EncoderSettings):
    """An encoder in a few lines: texts by their hash, crops by their mean colour."""

    kind: str = "hashing"

    def make(self, device, compute):
        class Encoder(HashEncoder):
            def encode_images(self, crops):
                means = np.asarray(crops.mean(dim=(2, 3)))
                rows = np.pad(means, ((0, 0), (0, self.dim - 3))) + 1e-3
                return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

        return Encoder()


class Same(CaptionerSettings):
    """A captioner in a few lines."""

    kind: str = "same"
    words: str = "a thing"

    def make(self, device, compute):
        class Captioner:
            image_size, device = 8, "cpu"

            def caption(captioner, crops):
                return [self.words] * len(crops)

        return Captioner()


def test_a_proposer_an_encoder_and_a_captioner(monkeypatch, dataset):
    from tasutils.captioners import CAPTIONERS
    from tasutils.encoders import ENCODERS
    from tasutils.proposals import PROPOSERS

    for door, made in ((PROPOSERS, Stripes), (ENCODERS, Hashing), (CAPTIONERS, Same)):
        monkeypatch.setitem(door, made.model_fields["kind"].default, made)
    own = {"proposals": {"kind": "stripes", "n": 3}, "encoder": {"kind": "hashing"}}
    preset = load_preset("tiny").override(own | {"captioner": {"kind": "same"}})
    tas = tasutils.load(preset)
    scene = tas.describe(dataset.image_path(dataset.image_ids[0]))
    assert len(scene.proposals) == 3 and scene.captions == ["a thing"] * 3
    assert tas.refer(scene, SENTENCE).best is not None
    for change in ({"proposals.n": 2}, {"captioner.words": "b"}, {"encoder.template": "a {}"}):
        assert preset.override(change).digest() != preset.digest(), change
    assert preset.override({"proposals.n": 2}).describe_digest() != preset.describe_digest()


def test_own_parts_as_objects(dataset):
    image = tasutils.read_image(dataset.image_path(dataset.image_ids[0]))
    halves = np.zeros((2, *image.shape[:2]), bool)
    halves[0, :, : image.shape[1] // 2] = halves[1, :, image.shape[1] // 2 :] = True
    light = light_tas()
    parts = {name: getattr(light, name) for name in ("encoder", "captioner", "language")}
    tas = tasutils.load("tiny", **parts)
    scene = tas.describe(image, masks=halves)
    assert isinstance(scene, Scene) and (scene.proposals.masks() == halves).all()
    assert tas.refer(scene, "the dog on the right").best == 1
    with pytest.raises(TasError, match="masks"):
        tas.describe(image, masks=halves[:, :, :-1])


# ---------------------------------------------------------------- data sets


class NoneAndMany(DataSet):
    """A data set of one picture: sentences that mean nothing, one thing, and several."""

    splits, drawn = ("all",), ("all",)
    base: RefDataset

    def load(self, split, **_):
        first = self.base.samples[0]
        halves = {"none": (), "one": (1,), "all": (1, 2)}
        samples = tuple(replace(first, sample_id=k, ann_ids=v) for k, v in halves.items())
        middle = self.base.size_hw(first.image_id)[1] // 2

        def truth(sample):
            mask = np.zeros(self.base.size_hw(sample.image_id), bool)
            mask[:, :middle] |= 1 in sample.ann_ids
            mask[:, middle:] |= 2 in sample.ann_ids
            return mask

        return replace(self.base, name="halves", split=split, samples=samples, gt_mask=truth)


def test_sentences_that_mean_nothing_or_several_things(monkeypatch, make_tas, dataset, tmp_path):
    from tasutils.datasets import DATASETS, load_dataset

    own = NoneAndMany()
    own.base = dataset
    monkeypatch.setitem(DATASETS, "halves", own)
    data = load_dataset("halves", "all")
    methods = ("tas", Everything())
    folders = evaluate_all([data], make_tas(), methods, progress=False, out=tmp_path / "runs")
    chosen, drawn = (read_run(folder).samples.set_index("sample_id") for folder in folders)
    assert bool(chosen.loc["none", "no_target"]) and chosen.loc["none", "iou"] == 0
    assert drawn.loc["all", "iou"] == 1 and drawn.loc["one", "iou"] == pytest.approx(0.5, abs=0.05)
    asked = [replace(s, text="nobody") for s in data.samples]
    nobody = replace(data, samples=tuple(asked))
    (folder,) = evaluate_all([nobody], make_tas(), methods[1:], progress=False, out=tmp_path / "r")
    silent = read_run(folder).samples.set_index("sample_id")["iou"]
    assert silent.to_dict() == {"none": 1, "one": 0, "all": 0}


# ---------------------------------------------------------------- kind: my_module:Mine


@pytest.fixture
def mine(tmp_path):
    """A preset file beside a module of one's own."""
    return own_preset(tmp_path)


def test_a_class_of_one_s_own_reaches_another_process(mine):
    code = (
        "import pickle, sys; preset = pickle.loads(sys.stdin.buffer.read());"
        "print(preset.captioner.make('cpu', None).caption([0, 0]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(load_preset(mine)), capture_output=True
    )
    assert done.stdout.decode().strip() == "['a mine', 'a mine']", done.stderr.decode()


@pytest.mark.parametrize("kind", ["nowhere:Mine", "my_captions:Nobody", "os:path", "tiny", ""])
def test_a_kind_that_is_none_is_one_line(mine, kind):
    data = yaml.safe_load(mine.read_text())
    data["captioner"]["kind"] = kind
    mine.write_text(yaml.safe_dump(data))
    with pytest.raises(TasError) as error:
        load_preset(mine)
    assert "\n" not in str(error.value) and "captioner" in str(error.value)


def test_every_setting_counts_in_the_digest():
    """A field of a variant that the digest did not see would mix two runs."""
    for name in ("tiny", "photo", "official"):
        preset = load_preset(name)
        for field, value in preset.leaves().items():
            if not isinstance(value, bool | int | float) or field.startswith("peer_encoder"):
                continue
            other = (not value) if isinstance(value, bool) else value + 2
            try:
                changed = preset.override({field: other})
            except TasError:
                continue  # the setting has a bound
            assert changed.digest() != preset.digest(), field
