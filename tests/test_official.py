"""Preset official: its sources, every combination of its switches, and NaN.

What each switch alone changes stands in test_golden (switches).
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from light import D, H, HashEncoder, W, boxes, embed, scene_of

from tasutils import cli
from tasutils.config import load_preset
from tasutils.datasets.sample import Sample
from tasutils.evaluate import Task, Truth
from tasutils.language.parse import Parser
from tasutils.metrics import iou
from tasutils.refer import refer
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


# ---------------------------------------------------------------- scores, and the NaN cases


STRICT = OFFICIAL.override({"scores.strict_official": True})


@pytest.mark.parametrize("preset", [OFFICIAL, STRICT])
def test_answers_with_nan_are_written_shown_and_listed(preset, tmp_path):
    from tasutils import charts, show, tables

    scene = hand_made(("a man",))
    for sentence in ("right man", "the man"):
        answer = refer(scene, sentence, Scaled(), PARSER, preset)
        record = cli.answer_json(answer, preset, Path("x.jpg"))
        rows = json.loads(json.dumps(record, allow_nan=False))["proposals"]
        assert [row["total"] is None for row in rows] == [preset is STRICT] * 5
        assert "why: mask" in cli.answer_lines(answer, tmp_path)
        image = np.zeros((*(H, W), 3), np.uint8)
        show.overlay(image, answer).png()
        show.region_picture(image, answer).png()
        charts.score_bars(answer).png()
        tables.styled(answer.table()).to_html()


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
            tables.add(sample, answer, {"": Truth.of(masks, gt)})
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


# ---------------------------------------------------------------- describe(), evaluate(), `tas`


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
