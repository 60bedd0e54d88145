"""Preset official: each row of the released code's table as a switch, by hand and by slow loops."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from light import D, H, HashEncoder, Same, W, boxes, embed, scene_of

from tasutils import cli, terms
from tasutils.config import load_preset
from tasutils.datasets.sample import Sample
from tasutils.evaluate import Choice, Overlaps, Task
from tasutils.language.parse import Parser
from tasutils.metrics import iou, metric
from tasutils.refer import TasAnswer, refer
from tasutils.runs import metrics_of
from tasutils.scene import Scene
from tasutils.score_table import ScoreTable

PARSER = Parser()
PAPER = load_preset("paper")
OFFICIAL = load_preset("official").override({"language.spacy_model": "en_core_web_sm"})
SWITCHES = {
    name: (value, OFFICIAL.leaves()[name])
    for name, value in PAPER.leaves().items()
    if value != OFFICIAL.leaves()[name]
} | {"scores.strict_official": (False, True), "overlap.greedy": (False, True)}
SWITCHES |= {"language.field": ("sent", "raw")}


class Scaled(HashEncoder):
    logit_scale = 100.0


# ---------------------------------------------------------------- the preset and its switches


def test_every_value_of_official_has_its_source():
    preset = load_preset("official")
    assert set(preset.leaves()) == set(preset.sources)
    assert preset.assumed == ["scores.strict_official"]


def test_paper_becomes_official_switch_by_switch_and_back():
    official, forth, back = load_preset("official"), PAPER, load_preset("official")
    for name, value in official.leaves().items():
        old = PAPER.leaves()[name]
        if old != value:
            forth, back = forth.override({name: value}), back.override({name: old})
    assert forth.digest() == official.digest() and back.digest() == PAPER.digest()


def test_every_difference_has_its_reason():
    official = load_preset("official")
    different = {n for n, v in official.leaves().items() if PAPER.leaves()[n] != v}
    assert set(official.reasons) == different and len(different) >= 20
    for reason in official.reasons.values():
        assert reason.startswith("Article: ") and ". Code: " in reason and ". Effect: " in reason
        assert "\n" not in reason
    changed = official.override({"rectifier.cut": "middle"})
    assert set(official.reasons) - set(changed.reasons) == {"rectifier.cut"}


def test_tiny_and_photo_keep_their_meaning():
    for name in ("tiny", "photo"):
        preset, default = load_preset(name), PAPER
        for switch in SWITCHES:
            if switch.split(".")[0] in ("proposals", "overlap") or "weight" in switch:
                continue
            if switch in ("rectifier.form", "language.spacy_model"):
                continue
            assert preset.leaves()[switch] == default.leaves()[switch], (name, switch)


# ---------------------------------------------------------------- each switch alone, from paper

# A picture of 32 x 24 px (W x H), its middle at (15.5, 11.5); boxes of 5 x 4 px by their centres.
CENTERS = {0: (4, 3.5), 1: (10, 15.5), 2: (15.5, 5.5), 3: (24, 19.5), 4: (28, 11.5)}


def hand_made(phrases: tuple[str, ...] = ("a zebra", "two red cars")) -> Scene:
    masks = np.zeros((5, *(H, W)), dtype=bool)
    for index, (x, y) in CENTERS.items():
        wide = 6 if x % 1 else 5
        left, top = int(x - (wide - 1) / 2), int(y - 1.5)
        masks[index, top : top + 4, left : left + wide] = True
    scene = scene_of(masks, seed=3, phrases=phrases)
    np.testing.assert_array_equal(scene.proposals.centers_xy, list(CENTERS.values()))
    return scene


def seen(answer: TasAnswer) -> dict[str, object]:
    expression = answer.expression
    return {
        "text": expression.text,
        "phrase": expression.phrase,
        "words": [d.token for d in expression.directions],
        "negatives": answer.negatives,
        **{name: values.tolist() for name, values in answer.terms.items()},
        "total": answer.total.tolist(),
        "region": answer.in_region.tolist(),
        "yields": answer.yields.tolist(),
    }


def changed(switch: str, sentence: str, **given: object) -> set[str]:
    """What a flip of one switch of paper changes in the answer to a sentence."""
    scene = given.get("scene") or hand_made()
    before, after = (
        seen(refer(scene, sentence, Scaled(), PARSER, PAPER.override({switch: value})))
        for value in SWITCHES[switch]
    )
    return {name for name in before if repr(before[name]) != repr(after[name])}


SCORES = {"v", "p", "n", "total"}
FLIPS = [
    ("language.lowercase", "The Dog", {"text", "v", "p", "total"}),
    ("language.lowercase", "the dog", set()),
    ("language.head_rule", "pigeon up high", {"phrase"}),
    ("language.head_rule", "the red dog", set()),
    ("language.synonym_rule", "the zebra", {"negatives", "n", "total"}),
    ("language.synonym_rule", "the man", set()),
    ("scores.logit_scale", "the dog", SCORES),
    ("scores.normalise", "the dog", {"total"}),
    ("scores.strict_official", "the dog", set()),
    ("terms.n.weight.default", "the dog", {"total"}),
    ("terms.n.weight.refcoco", "the dog", set()),  # asked about no data set
    ("rectifier.form", "top dog", {"words", "region", "yields"}),
    ("rectifier.form", "up, dog", {"words", "region"}),
    ("rectifier.form", "left dog", {"region", "yields"}),  # mask 2 stands on the cut
    ("rectifier.form", "the dog", set()),
    ("rectifier.matching", "the dog in the cup", {"words", "region"}),
    ("rectifier.matching", "left dog", set()),
    ("rectifier.gate", "man on the left", {"words", "region"}),
    ("rectifier.gate", "right man", set()),
    ("rectifier.centers", "right dog", {"region"}),  # mask 2: 15.5 becomes 15
    ("rectifier.centers", "left dog", set()),
    ("rectifier.cut", "left dog", {"region"}),
    ("rectifier.cut", "the dog", set()),
]
OF_DESCRIBE_OR_EVALUATE = {
    "crop.geometry", "crop.resize", "captioner.crop.geometry", "captioner.crop.resize",
    "language.clean_captions", "language.pronoun_chunks", "language.field", "metrics.epsilon",
    "overlap.greedy",
}  # fmt: skip


@pytest.mark.parametrize("switch, sentence, wanted", FLIPS)
def test_a_switch_changes_what_it_should_and_nothing_else(switch, sentence, wanted):
    assert changed(switch, sentence) == wanted


@pytest.mark.parametrize("switch", sorted(OF_DESCRIBE_OR_EVALUATE))
def test_a_switch_of_the_other_half_changes_no_answer(switch):
    assert changed(switch, "the Top left zebra, up") == set()


def test_every_switch_is_flipped_here():
    lambdas = {n for n in SWITCHES if n.startswith("terms.n.weight.")}
    assert set(SWITCHES) == {f[0] for f in FLIPS} | OF_DESCRIBE_OR_EVALUATE | lambdas


def regions(sentence: str, **changes: object) -> tuple[list[int], list[int]]:
    preset = PAPER.override({f"rectifier.{k}": v for k, v in changes.items()})
    answer = refer(hand_made(), sentence, Same(), PARSER, preset)
    return np.flatnonzero(answer.in_region).tolist(), np.flatnonzero(answer.yields).tolist()


def test_regions_by_hand():
    # x: 4, 10, 15.5, 24, 28; y: 3.5, 15.5, 5.5, 19.5, 11.5; medians 15.5 and 11.5, the middle too
    assert regions("left dog") == ([0, 1, 2], [])
    assert regions("right dog") == ([2, 3, 4], [])
    assert regions("right dog", centers="floor") == ([3, 4], [])  # 15 < 15.5
    # medians of the floored centres 4, 10, 15, 24, 28 and 3, 15, 5, 19, 11: 15 and 11
    floored = {"centers": "floor", "cut": "median"}
    assert regions("right dog", **floored) == ([2, 3, 4], [])
    assert regions("left dog", cut="median") == ([0, 1], [])  # < and >=
    four = {"form": "official", **floored}
    # top left 0; bottom left 1; top right 2; bottom right 3, 4 (11 >= 11)
    assert regions("left dog", **four) == ([0, 1], [0])
    assert regions("right dog", **four) == ([2, 3, 4], [2])
    assert regions("top dog", **four) == ([0, 2], [0])
    assert regions("dog below", **four) == ([1, 3, 4], [1])
    assert regions("dog below, right", **four) == ([3, 4], [])
    assert regions("top right dog", **four) == ([2], [])
    assert regions("top right laptop", **four) == ([2], [])
    assert regions("dog", **four) == ([0, 1, 2, 3, 4], [])


# ---------------------------------------------------------------- scores, and the NaN cases


def test_normalisation_by_hand():
    e = np.e
    np.testing.assert_allclose(
        terms.min_max_softmax([2.0, 4.0, 3.0]), np.array([1, e, e**0.5]) / (1 + e + e**0.5)
    )
    assert terms.min_max_softmax([]).shape == (0,)
    for strict in (False, True):
        assert np.isnan(terms.min_max_softmax([np.nan, np.nan], strict)).all()
    assert np.isnan(terms.min_max_softmax([1.0], True)).all()
    assert np.isnan(terms.min_max_softmax([1.0, 1.0], True)).all()


@settings(deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=8))
def test_normalisation_keeps_the_order_and_sums_to_one(sums):
    shares = terms.min_max_softmax(sums)
    assert shares.sum() == pytest.approx(1) and (shares > 0).all()
    assert np.argmax(shares) <= np.argmax(sums)
    assert (np.diff(shares[np.argsort(sums)]) >= 0).all()


def test_a_weight_of_zero_leaves_nan_out():
    nan = [np.nan, np.nan]
    assert terms.combine(
        {"v": [1, 2], "p": [3, 4], "n": nan}, {"v": 1, "p": 0.5, "n": 0}
    ).tolist() == [2.5, 4]
    assert np.isnan(
        terms.combine({"v": [1, 2], "p": [3, 4], "n": nan}, {"v": 1, "p": 0.5, "n": 0.1})
    ).all()


def test_logit_scale_is_the_encoder_s_and_one_where_it_has_none():
    preset = OFFICIAL.override({"scores.normalise": "none"})
    scene = hand_made()
    plain = refer(scene, "the dog", HashEncoder(), PARSER, preset)
    scaled = refer(scene, "the dog", Scaled(), PARSER, preset)
    for name, values in (plain.terms | {"total": plain.total}).items():
        np.testing.assert_allclose(scaled.table()[name], 100 * values, atol=1e-12)
    v, p, n = (plain.terms[name] for name in "vpn")
    np.testing.assert_allclose(plain.total, v + 0.1 * p + 0.7 * n)
    assert scaled.rank.tolist() == plain.rank.tolist()


def test_openclip_tells_its_logit_scale():
    from tasutils.tas import load

    encoder = load("tiny").encoder
    assert encoder.logit_scale == pytest.approx(encoder.model.logit_scale.exp().item())


STRICT = OFFICIAL.override({"scores.strict_official": True})


def test_no_negatives():
    scene = hand_made(("a man",))
    lenient = refer(scene, "the man", Scaled(), PARSER, OFFICIAL)
    assert (
        lenient.negatives == ()
        and not lenient.terms["n"].any()
        and np.isfinite(lenient.total).all()
    )
    assert lenient.best == np.argmax(lenient.terms["v"] + 0.1 * lenient.terms["p"]) != 0
    strict = refer(scene, "the man", Scaled(), PARSER, STRICT)
    assert np.isnan(strict.terms["n"]).all() and np.isnan(strict.total).all() and strict.best == 0
    assert "NaN" in strict.reason and "\n" not in strict.reason
    assert refer(scene, "the man", Scaled(), PARSER, STRICT, weights={"n": 0}).best == lenient.best
    # the rectifier's comparisons with NaN are false: the second part's first mask (bottom right)
    right = refer(scene, "right man", Scaled(), PARSER, STRICT)
    assert right.expression.parts == ("top right", "bottom right") and right.best == 3


def test_one_mask():
    scene = scene_of(boxes(1, 3))
    lenient = refer(scene, "right man", Scaled(), PARSER, OFFICIAL)
    assert lenient.best == 0 and lenient.total.tolist() == [1.0]
    strict = refer(scene, "right man", Scaled(), PARSER, STRICT)
    assert strict.best == 0 and np.isnan(strict.total).all()


@pytest.mark.parametrize("preset", [OFFICIAL, STRICT])
def test_no_mask_is_an_empty_answer(preset):
    for phrases in ((), ("a dog",)):
        scene = scene_of(boxes(0, 0), phrases=phrases)
        for sentence in ("left dog", "dog"):
            answer = refer(scene, sentence, Scaled(), PARSER, preset)
            assert answer.best is None and answer.total.shape == (0,)
            assert "no mask was proposed" in answer.reason and not answer.mask().any()


def test_equal_sums_are_equal_shares_or_nan():
    scene = hand_made()
    same = dataclasses.replace(
        scene,
        views={"crop": np.repeat(scene.crop_embeddings[:1], 5, axis=0)},
        caption_embeddings=np.repeat(scene.caption_embeddings[:1], 5, axis=0),
    )
    assert refer(same, "dog", Scaled(), PARSER, OFFICIAL).total.tolist() == [0.2] * 5
    assert np.isnan(refer(same, "dog", Scaled(), PARSER, STRICT).total).all()


@pytest.mark.parametrize("preset", [OFFICIAL, STRICT])
def test_answers_with_nan_are_written_shown_and_listed(preset, tmp_path):
    from tasutils import charts, show, tables

    scene = hand_made(("a man",))
    for sentence in ("right man", "the man", "bright man"):
        answer = refer(scene, sentence, Scaled(), PARSER, preset)
        record = cli.answer_json(answer, preset, Path("x.jpg"))
        rows = json.loads(json.dumps(record, allow_nan=False))["proposals"]
        assert [row["total"] is None for row in rows] == [preset is STRICT] * 5
        assert "why: mask" in cli.answer_lines(answer, tmp_path)
        image = np.zeros((*(H, W), 3), np.uint8)
        show.overlay(image, answer).png()
        show.region_picture(image, answer).png()
        charts.score_bars(answer).png()
        tables.style_table(answer).to_html()


def test_the_region_that_is_drawn_is_the_region_of_the_centres():
    from tasutils.refer import region

    for sentence in ("right man", "top left zebra", "dog on top", "man"):
        answer = refer(hand_made(), sentence, Scaled(), PARSER, OFFICIAL)
        again = region(answer.scene, answer.expression, OFFICIAL, [(4, 3), (10, 15), (15, 5)])
        assert again[0].tolist() == answer.in_region[:3].tolist()


# ---------------------------------------------------------------- every combination


SENTENCES = st.sampled_from(
    [
        "right man", "the man on the right", "top left zebra", "dog on top", "man on the left",
        "bottom left dog", "the Zebra", "dog near the laptop", "woman to the right of the car",
        "second from left", "狗", "the beast below", "it",
    ]
)  # fmt: skip
SCENES = st.builds(
    lambda n, seed, phrases: scene_of(boxes(n, seed), seed=seed, phrases=phrases),
    st.integers(0, 7),
    st.integers(0, 999),
    st.sampled_from([(), ("a man",), ("a dog", "two red cars", "it")]),
)
SUBSETS = st.lists(st.sampled_from(sorted(SWITCHES)), unique=True)


@settings(max_examples=100, deadline=None)
@given(SCENES, SENTENCES, SUBSETS)
def test_every_combination_of_switches_gives_a_whole_answer(scene, sentence, flipped):
    preset = PAPER.override({switch: SWITCHES[switch][1] for switch in flipped})
    if "language.spacy_model" in flipped:
        preset = preset.override({"language.spacy_model": "en_core_web_sm"})
    answer, n = refer(scene, sentence, Scaled(), PARSER, preset), len(scene.proposals)
    assert sorted(answer.rank) == list(range(1, n + 1))
    assert answer.best is None if n == 0 else answer.rank[answer.best] == 1
    assert answer.reason and "\n" not in answer.reason
    strict = preset.scores.strict_official
    assert strict or np.isfinite(answer.total).all()
    assert not answer.yields.any() or preset.rectifier.form == "official"
    if not answer.expression.directions:
        assert answer.in_region.all() and answer.best == answer.unrectified
        assert not answer.rectified


@settings(max_examples=40, deadline=None)
@given(SCENES, st.sampled_from(["the dog", "zebra", "man with a hat"]))
def test_without_a_direction_word_the_rectifier_is_the_identity(scene, sentence):
    plain = OFFICIAL.override({"rectifier.form": "none"})
    one, other = (refer(scene, sentence, Scaled(), PARSER, p) for p in (OFFICIAL, plain))
    assert one.best == other.best and one.rank.tolist() == other.rank.tolist()


# ---------------------------------------------------------------- runs of official


def run_of(scenes, sentences, preset, **weights):
    """Answers, and the tables a run would store of them."""
    tables, found = Task(None, None, Path(), epsilon=preset.metrics.epsilon), []
    for number, scene in enumerate(scenes):
        masks = scene.proposals.masks()
        for k, sentence in enumerate(sentences):
            name = f"{number}-{k}"
            sample = Sample(name, str(number), name, str(k), sentence, sentence, "thing", "val")
            answer = refer(scene, sentence, Scaled(), PARSER, preset, **weights)
            gt = np.zeros((H, W), bool)
            gt[:12] = True
            tables.add(sample, masks, {"": Overlaps.of(masks, gt)}, Choice.of_answer(answer))
            found.append(answer)
    return found, *tables.frames()


def equal_crops(scene: Scene) -> Scene:
    n = len(scene.proposals)
    return dataclasses.replace(
        scene,
        views={"crop": np.tile(embed("crop").astype(np.float32), (n, 1))},
        caption_embeddings=np.zeros((n, D), np.float32),
    )


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("normalise", ["none", "min_max_softmax"])
def test_stored_scores_give_the_answers_of_refer(strict, normalise):
    preset = OFFICIAL.override(
        {"scores.strict_official": strict, "scores.normalise": normalise, "metrics.epsilon": 0.5}
    )
    kinds = [(), ("a man",), ("a dog", "two red cars")]
    scenes = [
        scene_of(boxes(n, 7 + n), seed=n, phrases=kinds[n % 3]) for n in (0, 1, 2, 3, 5, 8, 9)
    ]
    scenes += [equal_crops(scene) for scene in scenes[2:]]
    texts = ["right man", "dog on top", "top left zebra", "the man", "the man on the right"]
    _, samples, table = run_of(scenes, texts, preset)
    assert table["term_n"].isna().any() == strict and table["yields"].any()
    stored = ScoreTable(table, samples, {}, strict and normalise != "none", 0.5)
    for p, n in ((0.1, 0.7), (0.0, 0.7), (0.5, 0.0), (0.0, 0.0)):
        wanted, other, _ = run_of(scenes, texts, preset, weights={"p": p, "n": n})
        weights = {"v": 1.0, "p": p, "n": n}
        rows, plain = (stored.choose(weights, form) for form in ("own", "none"))
        assert proposals(stored, rows) == [answer.best for answer in wanted]
        assert iou(*stored.pixels(rows), 0.5).tolist() == other["iou"].tolist()
        assert proposals(stored, plain) == [answer.unrectified for answer in wanted]


def proposals(table, rows):
    return [None if row < 0 else int(table.proposal[row]) for row in rows]


def test_metrics_with_epsilon_by_hand():
    assert iou([1, 0, 4], [2, 0, 4], 1e-6).tolist() == [1 / (2 + 1e-6), 0, 4 / (4 + 1e-6)]
    assert iou([3], [0], 1.0).tolist() == [0.0]
    assert metric([1], [2], "p@0.5") == 0  # strictly greater
    _, samples, _ = run_of([hand_made()], ["the dog", "left dog"], OFFICIAL)
    inter, union = samples["intersection_px"].to_numpy(), samples["union_px"].to_numpy()
    assert samples["iou"].tolist() == (inter / (union + 1e-6)).tolist()
    found = metrics_of(samples, 0.5)
    assert found["miou"].value == pytest.approx((inter / (union + 0.5)).mean(), rel=1e-12)
    assert found["oiou"].value == pytest.approx(inter.sum() / union.sum(), rel=1e-12)


# ---------------------------------------------------------------- describe(), evaluate(), `tas`


class Mumbling:
    """A captioner that stutters, says nothing, and speaks of "it"."""

    image_size, device = 8, "cpu"

    def caption(self, crops):
        return ["a dog a dog a dog", "a photo of", "a cat"][: len(crops)]

    def caption_image(self, whole):
        return "a man and it and a red car"


class Images(HashEncoder):
    def encode_images(self, crops):
        return np.array([embed(str(float(crop.sum()))) for crop in crops], np.float32)


def test_captions_and_chunks_as_generated(picture, masks):
    from tasutils.describe import describe_all

    def scene(**changes):
        preset = PAPER.override({f"language.{k}": v for k, v in changes.items()})
        return describe_all(
            [picture], proposer=lambda image: masks, encoder=Images(), captioner=Mumbling(),
            language=PARSER, preset=preset,
        )[0]  # fmt: skip

    tidy, raw = scene(), scene(clean_captions=False)
    assert tidy.captions == ["a dog", "", "a cat"] and not tidy.caption_embeddings[1].any()
    assert raw.captions == raw.captions_raw == tidy.captions_raw
    np.testing.assert_allclose(raw.caption_embeddings[1], embed("a photo of"), rtol=1e-3)
    assert tidy.phrases == ["a man", "a red car"]
    assert scene(pronoun_chunks=True).phrases == ["a man", "it", "a red car"]
    assert len({s.describe_digest for s in (tidy, raw, scene(pronoun_chunks=True))}) == 3
    np.testing.assert_array_equal(tidy.crop_embeddings, raw.crop_embeddings)


@pytest.fixture(scope="module")
def tiny_official():
    """Tiny's weights, official's switches, and the first picture of val described by them."""
    from tasutils.datasets import load_dataset
    from tasutils.tas import load

    weights = ("proposals.", "encoder.", "overlap.", "captioner.checkpoint", "captioner.num")
    weights += ("compute.",)
    changes = {
        name: value
        for name, value in load_preset("official").leaves().items()
        if not name.startswith((*weights, "terms.n.", "language.spacy_model"))
    }
    changes |= {"terms.n": 0.7}
    tas = load(load_preset("tiny").override(changes))
    data = load_dataset("refscenes", "val")
    return tas, data


def test_tiny_with_official_s_switches_runs_end_to_end(tiny_official, tmp_path):
    from tasutils.evaluate import evaluate
    from tasutils.runs import read_run
    from tasutils.store import SceneStore

    tas, data = tiny_official
    assert tas.preset.crop.resize == "clip" and tas.preset.rectifier.form == "official"
    store = SceneStore(tmp_path / "scenes")
    folder = evaluate(data, tas, limit_images=1, store=store, progress=False, out=tmp_path)
    run = read_run(folder)
    samples, table = run.samples, run.scores
    n = run.record.n_used
    assert n == len(samples) >= 3 and samples["chosen"].between(0, 99).all()
    assert run.record.weights["n"] == 0.7 and table["term_v"].abs().max() > 1  # logit-scaled
    assert proposals(run.table, run.table.choose()) == samples["chosen"].tolist()
    assert not run.table.nan_ties and run.epsilon == 1e-6
    reasons = samples["reason"].str.contains("share .* of the softmax")
    assert reasons.all()

    raw = dataclasses.replace(
        data, samples=tuple(dataclasses.replace(s, raw="The Bear") for s in data.samples)
    )
    other = type(tas)(tas.preset.override({"language.field": "raw"}), encoder=tas.encoder)
    again = evaluate(raw, other, limit_images=1, store=store, progress=False, out=tmp_path / "r")
    assert read_run(again).samples["chosen"].nunique() == 1  # every sentence was "the bear"


def test_presets_diff(capsys):

    assert cli.main(["presets", "diff", "paper", "official"]) == 0
    page = capsys.readouterr().out
    official = load_preset("official")
    for name, reason in official.reasons.items():
        assert name in page and reason[:40] in page
    assert f"{len(official.reasons)} settings differ" in page
    assert cli.main(["presets", "diff", "tiny", "photo"]) == 0
    assert "proposals.merge.scale" in capsys.readouterr().out
    assert cli.main(["presets", "diff", "paper", "paper"]) == 0
    assert "same settings" in capsys.readouterr().out
    for wrong in (["paper", "ofical"], ["nope", "paper"]):
        assert cli.main(["presets", "diff", *wrong]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "unknown preset" in error


def test_missing_weights_are_one_line(capsys, tmp_path, picture, monkeypatch):
    import yaml
    from PIL import Image

    from tasutils import cli, paths

    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    Image.fromarray(picture).save(tmp_path / "picture.png")
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump(OFFICIAL.model_dump()))
    named = {"official": ("en_core_web_trf", "sam_vit_h"), str(mine): ("sam_vit_h",)}
    for preset, words in named.items():
        args = ["segment", str(tmp_path / "picture.png"), "the dog", "--preset", preset]
        assert cli.main(args) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and any(word in error for word in words), error
