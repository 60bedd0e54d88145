"""P by itself over a run made by hand: verdicts on captions, duels with V, gains by quality."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tasutils import caption_charts, caption_study
from tasutils.captioners import clean_caption
from tasutils.config import load_preset
from tasutils.covering import is_right
from tasutils.language.parse import Parser
from tasutils.scene import Proposals
from tasutils.study import Part, gain

# each picture has a target of 100 px, three masks (intersection, area) and a caption of each
MASKS = [(90, 95), (60, 100), (0, 50)]
PICTURES = {
    "a": ("dog", ("a brown hound", "a stone", "a red car"), " a brown hound"),
    "b": ("couch", ("a green sofa", "two sofas", ""), "a green sofa"),
    "c": ("car", ("a bus", "", "a car"), "a bus a bus a"),
}


def scene_of(captions: tuple[str, str, str], raw: str) -> SimpleNamespace:
    masks = np.zeros((3, 20, 30), bool)
    masks[:, 2:8, 3:9] = True
    return SimpleNamespace(
        captions=list(captions), captions_raw=[raw, *captions[1:]],
        image_caption="a dog", image_caption_raw=" a  dog " if raw else "a dog a dog",
        proposals=Proposals.from_masks(masks),
    )  # fmt: skip


class Pictures:
    """What the study asks of a gallery."""

    tas = SimpleNamespace(preset=load_preset("tiny"), language=Parser())

    def __init__(self, part: Part) -> None:
        self.part = part

    def picture(self, image_id: str) -> tuple[np.ndarray, SimpleNamespace]:
        return np.full((20, 30, 3), 90, np.uint8), scene_of(*PICTURES[image_id][1:])


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Part:
    """Three sentences a picture, with random V and P."""
    monkeypatch.setattr(caption_study, "Gallery", Pictures)
    rng, samples, rows = np.random.default_rng(3), [], []
    for image, (category, *_) in PICTURES.items():
        for k in range(3):
            name = f"{image}{k}"
            samples.append({
                "sample_id": name, "image_id": image, "ref_id": image, "category": category,
                "text": category, "gt_area_px": 100,
            })  # fmt: skip
            for proposal, (inter, area) in enumerate(MASKS):
                rows.append({
                    "sample_id": name, "proposal": proposal, "v": rng.random(), "p": rng.random(),
                    "n": 0.0, "region": True, "intersection_px": inter,
                    "union_px": 100 + area - inter, "gt_area_px": 100,
                })  # fmt: skip
    record = SimpleNamespace(
        run_id="made", dataset="refscenes", split="val", alpha=0.4, lam=0.0, config={}
    )
    frames = pd.DataFrame(samples), pd.DataFrame(rows)
    run = SimpleNamespace(record=record, samples=lambda: frames[0], scores=lambda: frames[1])
    return Part(run)  # type: ignore[arg-type]


@pytest.fixture
def table(part: Part) -> pd.DataFrame:
    return caption_study.captions(part)


def test_captions_are_judged_where_a_mask_covers_the_thing(table):
    names, other, silent = caption_study.NAMES, caption_study.OTHER, caption_study.SILENT
    # the second mask has IoU 60 / 140, so it covers nothing
    wanted = {("a", 0): names, ("b", 0): names, ("c", 0): other}
    assert {key: table.loc[key, "verdict"] for key in wanted} == wanted
    assert (table["verdict"] == "").sum() == 6 and silent not in set(table["verdict"])


def test_an_empty_caption_names_nothing(part, monkeypatch):
    monkeypatch.setitem(PICTURES, "a", ("dog", ("", "a dog", "a dog"), ""))
    assert caption_study.captions(part).loc[("a", 0), "verdict"] == caption_study.SILENT


def test_shares_are_means_over_masks(table):
    shares = caption_study.naming(table, 50)
    assert shares.loc[0, "mean"] == pytest.approx(2 / 3) and shares.loc[0, "n"] == 3
    assert shares["n"].iloc[1:].sum() == 3  # the bins part the masks


def test_cleaning_is_told_apart_from_white_space(part, table):
    clean = caption_study.cleaned(part, table)
    assert len(clean) == 3 * 3 + 3
    assert list(clean.index[clean["changed"]]) == [("c", 0)]
    cleaned = [clean_caption(raw) for raw in caption_study.REPORTED]
    assert all(
        len(new) < len(raw) for new, raw in zip(cleaned, caption_study.REPORTED, strict=True)
    )


@pytest.mark.parametrize("alpha", [0.0, 0.4, caption_study.ALONE])
def test_duels_agree_with_a_loop(part, alpha):
    found = caption_study.duels(part, alpha)
    scores = part.run.scores()
    for row, sample in part.samples.iterrows():
        here = scores[scores["sample_id"] == sample["sample_id"]]
        first, second = (int((here["v"] + a * here["p"]).argmax()) for a in (0, alpha))
        both = (first == 0, second == 0)  # only the first mask covers the target
        kinds = {(True, True): 0, (True, False): 1, (False, True): 2, (False, False): 3}
        assert found[row] == caption_study.DUELS[kinds[both]]
    if alpha == caption_study.ALONE:
        alone = scores.loc[scores.groupby("sample_id")["p"].idxmax(), "proposal"].to_numpy()
        right = np.isin(found, [caption_study.DUELS[0], caption_study.DUELS[2]])
        assert np.array_equal(right, alone == 0)


def test_gains_by_caption_part_the_sentences(part, table):
    found = caption_study.gain_by_caption(part, table, (0.4, 2.0), 50)
    for alpha, rows in found.groupby("question"):
        first, *rest = rows.to_dict("records")
        assert first["n"] == 9 and [row["n"] for row in rest] == [6, 3]
        whole = sum(row["mean"] * row["n"] for row in rest) / 9
        assert first["mean"] == pytest.approx(whole)
        assert first["group"] == f"all sentences, alpha {alpha}"
    spoken = part.scores.pixels(part.scores.choose(0.4, 0, "none"))
    assert found.loc[0, "mean"] == gain(part, spoken, part.pixels("V", False), None, 50)["mean"]
    assert is_right(part, part.scores.choose(0.4, 0, "none")).dtype == bool


def test_words_and_cards(part, table):
    shares = caption_study.naming(table, 50)
    gains = caption_study.gain_by_caption(part, table, (0.4,), 50)
    kinds = caption_study.duels(part, caption_study.ALONE)
    clean = caption_study.cleaned(part, table)
    lines = caption_study.summary(clean, shares, kinds, gains)
    assert lines[0] == "Cleaning changed 1 of 12 captions."
    assert "Of 3 masks of IoU 0.5 to 1, 66.7" in lines[1]
    assert f"of {len(kinds)} sentences" in lines[-len(gains) - 1]
    cards = caption_study.cards(part, table, caption_study.NAMES, 5)
    assert [card.said for card in cards] == ["a brown hound", "a green sofa"]
    assert all(card.good for card in cards) and cards[0].crop.shape == (112, 112, 3)
    assert caption_charts.caption_cards(cards).png().startswith(b"\x89PNG")
    assert caption_charts.caption_cards([]).png().startswith(b"\x89PNG")
