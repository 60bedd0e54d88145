"""N by itself over a run made by hand: mining, other choices of negatives, paths in WordNet."""

from types import SimpleNamespace

import light
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasutils import negative_charts, negative_study, terms
from tasutils.alternatives import alternatives
from tasutils.config import load_preset
from tasutils.errors import TasError
from tasutils.language import SYNONYM_RULES, Parser
from tasutils.language.wordnet import path_similarity, sense_path, wordnet
from tasutils.masks import intersection_union
from tasutils.study import Part
from tasutils.tas import TAS

NOUNS = ["dog", "puppy", "couch", "sofa", "giraffe", "teddy bear", "car", "stone", "person", "idea"]
SCENES = {  # phrases of the picture's caption, and the sentences with their categories
    "park": (("a dog", "two red cars", "the animal"), [("the hound", "dog"), ("red car", "car")]),
    "room": (("a giraffe", "a couch"), [("the sofa on the left", "couch"), ("giraffe", "giraffe")]),
    "void": ((), [("the dog", "dog"), ("the animal", "dog")]),
}
TASK = TAS(load_preset("tiny"), encoder=light.HashEncoder(), language=Parser(), device="cpu")


class Pictures:
    """What the study asks of a gallery."""

    tas = TASK
    scenes = {
        name: light.scene_of(light.boxes(4, seed), seed=seed, phrases=phrases)
        for seed, (name, (phrases, _)) in enumerate(SCENES.items())
    }

    def __init__(self, part: Part) -> None:
        del part

    def picture(self, image_id: str) -> tuple[None, light.Scene]:
        return None, self.scenes[image_id]


@pytest.fixture(scope="module")
def part():
    """A run answered over these scenes; each target is the second mask of its picture."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(negative_study, "Gallery", Pictures)
        yield answered()


def answered() -> Part:
    samples, rows = [], []
    for image, (_, sentences) in SCENES.items():
        scene = Pictures.scenes[image]
        inter, union = intersection_union(scene.proposals.masks(), scene.proposals.masks()[1])
        for text, category in sentences:
            name, answer = f"{image}: {text}", TASK.refer(scene, text)
            samples.append({
                "sample_id": name, "image_id": image, "ref_id": category, "text": text,
                "category": category, "gt_area_px": 20,
            })  # fmt: skip
            others = alternatives(answer, text, TASK.language, 1.0)
            frame = {"sample_id": name, "proposal": range(4), "v": answer.v, "p": answer.p}
            frame |= {"n": answer.n, "region": answer.in_region, "intersection_px": inter}
            rows.append(pd.DataFrame(frame | {"union_px": union, "gt_area_px": 20} | others))
    record = SimpleNamespace(
        run_id="made", dataset="refscenes", split="val", alpha=0.1, lam=0.5, config={}, partial=True
    )
    frames = pd.DataFrame(samples), pd.concat(rows, ignore_index=True)
    run = SimpleNamespace(record=record, samples=lambda: frames[0], scores=lambda: frames[1])
    return Part(run)  # type: ignore[arg-type]


def test_every_phrase_is_judged_by_both_rules_and_by_the_truth(part):
    table = negative_study.mined(part)
    assert len(table) == 2 * 3 + 2 * 2
    cells = table.set_index(["row", "phrase"])
    assert not cells.loc[(0, "a dog"), "nearest"]  # a hound is a dog
    assert cells.loc[(0, "a dog"), "target"] and cells.loc[(0, "a dog"), "three_pairs"]
    assert cells.loc[(3, "a giraffe"), "three_pairs"], "no synonym of itself by that rule"
    assert not cells.loc[(3, "a giraffe"), "nearest"]
    assert (table["kept"] == table[TASK.preset.language.synonym_rule]).all()
    assert (table["kept"] == (table["similarity"] < 0.9)).all()


def test_the_preset_s_own_choice_gives_the_stored_scores(part):
    table = negative_study.mined(part)
    choices = {rule: table[rule].to_numpy(bool) for rule in SYNONYM_RULES}
    found = negative_study.with_negatives(part, table, choices)
    stored = part.scores
    assert np.allclose(found.n["nearest"], stored.n["own"])
    assert np.allclose(found.n["three_pairs"], stored.n["three_pairs"])


@settings(max_examples=15, deadline=None)
@given(bits=st.lists(st.booleans(), min_size=10, max_size=10))
def test_any_choice_is_the_mean_over_its_phrases(part, bits):
    table, kept = negative_study.mined(part), np.array(bits)
    found = negative_study.with_negatives(part, table, {"some": kept})
    for row, sample in part.samples.iterrows():
        scene = Pictures.scenes[sample["image_id"]]
        few = table.loc[kept & (table["row"] == row).to_numpy(), "index"]
        wanted = terms.n_score(scene.crop_embeddings, scene.phrase_embeddings[few])
        assert np.allclose(found.n["some"][found.segment == row], wanted)


def test_no_negative_gains_nothing_and_more_phrases_keep_more(part):
    table = negative_study.mined(part)
    none = {"none": np.zeros(len(table), bool)}
    row = negative_study.choice_gains(part, table, none, 50).iloc[0]
    assert (row["mean"], row["low"], row["high"], row["negatives"]) == (0, 0, 0, 0)
    cuts = negative_study.by_first(table, (1, 2, 3)) | {"all": table["kept"].to_numpy(bool)}
    grown = negative_study.choice_gains(part, table, cuts, 50)
    assert grown["negatives"].is_monotonic_increasing
    assert np.array_equal(cuts["caption cut to 3"], cuts["all"])
    over = negative_study.choice_gains(part, table, cuts, 50, over="caption cut to 1")
    assert over.loc[0, "mean"] == over.loc[0, "low"] == 0
    assert np.allclose(over["mean"], grown["mean"] - grown.loc[0, "mean"])


def test_thresholds_move_with_similarity(part):
    table = negative_study.mined(part)
    kept = list(negative_study.by_threshold(table, (0.0, 0.2, 0.9, 1.1)).values())
    assert not kept[0].any() and kept[-1].all()
    assert all((a <= b).all() for a, b in zip(kept, kept[1:], strict=False))


def test_groups_by_detail_are_whole(part):
    table = negative_study.mined(part)
    detail = negative_study.by_detail(part, table, 50)
    assert detail["n"].sum() == len(part.samples)
    full, plain = (np.divide(*part.pixels(name, False)) for name in ("V+N", "V"))
    assert (detail["mean"] * detail["n"]).sum() == pytest.approx((full - plain).sum())


def test_targets_among_their_own_negatives_are_found(part):
    table = negative_study.mined(part)
    released = negative_study.own_negatives(part, table, "three_pairs")
    assert "giraffe" in set(released["text"]) and "the hound" in set(released["text"])
    own = negative_study.own_negatives(part, table)
    assert set(own["text"]) <= set(released["text"]) and "giraffe" not in set(own["text"])
    assert (own["negatives"] >= 1).all()


def test_nouns_and_their_senses(part):
    pairs = negative_study.self_pairs(part).set_index("noun")
    assert pairs["sentences"].sum() == len(part.samples)
    assert pairs.loc["giraffe", "pairs"] == 1 and pairs.loc["dog", "pairs"] == 8


def test_words_hold_the_tables_numbers(part):
    table = negative_study.mined(part)
    moved = negative_study.moved(part)
    cuts = negative_study.by_first(table, (1, 2))
    gains = negative_study.choice_gains(part, table, cuts, 50)
    lines = negative_study.summary(part, table, negative_study.self_pairs(part), gains, gains)
    total = sum(len(rows) for rows in moved.values())
    assert lines[1].startswith(f"N moves {total} of 6 answers: {len(moved['to right'])} to right")
    assert len(lines) == 2 + len(SYNONYM_RULES) + 1 + len(cuts) + 1


@settings(max_examples=20, deadline=None)
@given(a=st.sampled_from(NOUNS), b=st.sampled_from(NOUNS))
def test_a_path_is_as_long_as_its_similarity_says_and_goes_up(a, b):
    path = sense_path(a, b)
    assert path.similarity == pytest.approx(path_similarity(a, b))
    assert path.up_a[-1] == path.up_b[-1] == path.above[0] and path.above[-1] == "entity.n.01"
    for way in (path.up_a, path.up_b, path.above):
        for low, high in zip(way, way[1:], strict=False):
            sense = wordnet().synset(low)
            above = (*sense.hypernyms(), *sense.instance_hypernyms())
            assert high in {parent.name() for parent in above}
    assert negative_charts.path_tree(path).png().startswith(b"\x89PNG")


def test_nouns_that_wordnet_does_not_know():
    with pytest.raises(TasError, match="does not know the noun 'blorp'"):
        sense_path("dog", "blorp")


def test_the_slider_takes_phrases_out_and_answers_again(picture):
    scene = Pictures.scenes["park"]
    image = np.resize(picture, (*scene.size_hw, 3))
    slider = negative_charts.ThresholdSlider(TASK, image, scene, "the hound", "refscenes")
    assert slider.answer.negatives == ("two red cars", "the animal")
    before = slider.children[1].value
    slider.threshold.value = 0.0
    assert slider.answer.negatives == () and (slider.answer.n == 0).all()
    slider.threshold.value = 1.0
    assert slider.answer.negatives == ("two red cars", "the animal")  # 1 is not under 1
    assert slider.children[1].value != before
    assert "the animal" in slider.children[3].value
