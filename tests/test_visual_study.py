"""V by itself over a run made by hand: what masks cover, what V takes for what, who gains."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tasutils import covering, visual_charts, visual_study
from tasutils.changed_runs import changed_part
from tasutils.config import CropConfig, load_preset
from tasutils.encoders.settings import EncoderConfig
from tasutils.errors import TasError
from tasutils.scene import Proposals
from tasutils.study import Part

# by sentence: target, (intersection, mask area, V) of each mask; targets have 100 px
SENTENCES = {
    "right": ("dog 1", [(90, 95, 0.9), (0, 40, 0.2), (0, 300, 0.1), (20, 25, 0.3)]),
    "a piece of it": ("dog 1", [(90, 95, 0.3), (0, 40, 0.2), (0, 300, 0.1), (20, 25, 0.8)]),
    "another dog": ("dog 2", [(0, 95, 0.9), (30, 40, 0.2), (80, 80, 0.8), (0, 25, 0.3)]),
    "another kind": ("cat 1", [(0, 95, 0.9), (0, 40, 0.1), (0, 80, 0.1), (70, 70, 0.2)]),
    "nothing": ("dog 1", [(90, 95, 0.3), (0, 40, 0.1), (0, 300, 0.7), (20, 25, 0.2)]),
    "no good mask": ("cup 1", [(0, 95, 0.9), (10, 40, 0.2)]),
    "no mask": ("cup 2", []),
}
KINDS = dict(
    zip(
        ["a piece of it", "another dog", "another kind", "nothing", "no good mask"],
        visual_study.MISTAKES, strict=True,
    )
)  # fmt: skip


def part_of(v_of=lambda name, k, v: v, names=tuple(SENTENCES), split="val") -> Part:
    """A run of these sentences, a picture each but for the two dogs and the cat."""
    samples, scores = [], []
    together = {"another dog": "picture 1", "another kind": "picture 1", "right": "picture 1"}
    for name in names:
        target, masks = SENTENCES[name]
        image = together.get(name, f"picture of {name}")
        samples.append({
            "sample_id": name, "image_id": image, "ref_id": target, "text": name,
            "category": target.split()[0], "gt_area_px": 100,
        })  # fmt: skip
        for k, (inter, area, v) in enumerate(masks):
            scores.append({
                "sample_id": name, "proposal": k, "v": v_of(name, k, v), "p": 1.0 - k, "n": 0.0,
                "region": True, "intersection_px": inter, "union_px": 100 + area - inter,
                "gt_area_px": 100,
            })  # fmt: skip
    record = SimpleNamespace(
        run_id="made", dataset="refscenes", split=split, alpha=0.1, lam=0.3, config={}, partial=True
    )
    frames = pd.DataFrame(samples), pd.DataFrame(scores)
    run = SimpleNamespace(record=record, samples=lambda: frames[0], scores=lambda: frames[1])
    return Part(run)  # type: ignore[arg-type]


def test_a_mask_covers_the_target_it_overlaps_best():
    table = covering.covering(part_of())
    first = table.loc[("picture 1", 0)]
    assert (first["ref_id"], first["covers"]) == ("dog 1", True)
    assert first["iou"] == pytest.approx(90 / 105) and first["inside"] == pytest.approx(90 / 95)
    assert table.loc[("picture 1", 3), "ref_id"] == "cat 1"
    assert table.index.is_unique and len(table) == 4 + 4 + 4 + 2


def test_wanted_and_right_agree_with_a_loop():
    part = part_of()
    table, best = part.scores, covering.wanted(part)
    chosen = table.choose(0, 0, "none")
    for row, (_, masks) in enumerate(SENTENCES.values()):
        ious = [inter / (100 + area - inter) for inter, area, _ in masks]
        good = max(ious, default=0.0) > 0.5
        assert (table.proposal[best[row]] if best[row] >= 0 else -1) == (
            int(np.argmax(ious)) if good else -1
        )
        picked = int(np.argmax([v for *_, v in masks])) if masks else -1
        assert covering.is_right(part, chosen)[row] == (picked >= 0 and ious[picked] > 0.5)


def test_mistakes_have_their_kinds_and_right_answers_none():
    found = visual_study.mistakes(part_of()).set_index("text")
    assert set(found.index) == set(SENTENCES) - {"right"}
    assert {name: found.loc[name, "kind"] for name in KINDS} == KINDS
    assert found.loc["no mask", "kind"] == visual_study.MISTAKES[-1]
    taken = found["taken"].to_dict()
    assert (taken["another kind"], taken["another dog"], taken["nothing"]) == ("dog", "dog", "")
    assert found.loc["no mask", "chosen"] == -1 and np.isnan(found.loc["no mask", "v_chosen"])
    assert (found.loc["nothing", "meant"], found.loc["nothing", "v_meant"]) == (0, 0.3)


def test_a_lead_is_to_the_second_mask():
    table = visual_study.by_lead(part_of(), n_boot=20)
    assert table["n"].sum() == len(SENTENCES) - 1  # one has no mask, so no second
    wide = table[table["group"] == "lead 0.1 and more"].iloc[0]
    # leads: 0.6, 0.5, 0.1, 0.7, 0.4, 0.7, the third a hair under 0.1 in floats
    leads = [np.sort([v for *_, v in masks])[::-1] for _, masks in SENTENCES.values() if masks]
    assert wide["n"] == sum(v[0] - v[1] >= 0.1 for v in leads)


def test_gains_are_those_of_shared_sentences():
    few = tuple(SENTENCES)[:4]
    whole, other = part_of(), part_of(lambda name, k, v: -v, few)
    table = visual_study.encoder_gains({"a": whole, "b": other}, n_boot=50).set_index("group")
    assert set(table["n"]) == {len(few)}
    assert np.allclose(table["after"] - table["V"], table["mean"])
    alone = part_of(names=few)
    for name, part in (("a", alone), ("b", other)):
        inter, union = part.pixels("V", False)
        assert table.loc[f"{name}: P and N", "V"] == pytest.approx((inter / union).mean())
    apart = visual_study.encoder_gains({"a": whole, "b": part_of(names=few, split="valP")}, 20)
    assert sorted(set(apart["n"])) == [len(few), len(SENTENCES)]


def test_other_crops_are_set_against_the_own():
    few = tuple(SENTENCES)[1:5]
    part, other = part_of(), part_of(lambda name, k, v: float(k == 0), few)
    table = visual_study.crop_gains(part, {"first mask": other, "same": part}, n_boot=50)
    first, same = table.to_dict("records")
    ious = [[inter / (100 + area - inter) for inter, area, _ in SENTENCES[name][1]] for name in few]
    best = [int(np.argmax([v for *_, v in SENTENCES[name][1]])) for name in few]
    changes = [one[0] - one[k] for one, k in zip(ious, best, strict=True)]
    assert first["n"] == len(few) and first["mean"] == pytest.approx(np.mean(changes))
    assert same["mean"] == same["low"] == same["high"] == 0


def test_encoders_are_named_once_and_what_is_missing_with_its_remedy():
    here, missing = visual_study.encoders(load_preset("tiny"))
    assert list(here) == ["tiny-RN"] and not set(here) & set(missing)
    assert all("tas models get" in remedy for remedy in missing.values())
    assert {"align", "albef"} <= set(missing) | set(here)
    swapped = load_preset("tiny").override(here["tiny-RN"])
    assert swapped.encoder.model == "tiny-RN"
    photo, _ = visual_study.encoders(load_preset("photo"))
    assert not any(name.startswith("tiny") for name in photo)


def test_an_encoder_whose_weights_come_is_compared(tmp_path):
    file = tmp_path / "own.safetensors"
    mine = EncoderConfig(model="RN50", checkpoint=str(file)).model_dump()
    preset = load_preset("tiny").override({"peer_encoder": mine})
    assert "RN50" in visual_study.encoders(preset)[1]
    file.write_bytes(b"here")
    assert visual_study.encoders(preset)[0]["RN50"]["encoder"]["checkpoint"] == str(file)


def test_only_what_keeps_masks_and_captions_can_be_changed():
    for name in ("proposals.points_per_side", "captioner.num_beams", "cropping", "language"):
        with pytest.raises(TasError, match="changes masks or captions"):
            changed_part(part_of(), {name: 1})


def test_words_hold_the_tables_numbers():
    part = part_of()
    found, leads = visual_study.mistakes(part), visual_study.by_lead(part, 20)
    crops = visual_study.crop_gains(part, {"same": part}, 20)
    gains = visual_study.encoder_gains({"a": part}, 20)
    lines = visual_study.summary(part, found, leads, crops, gains)
    assert lines[0] == "V alone is right on 1 of 7 sentences."
    assert any("same changes nothing at all (n = 7)" in line for line in lines)
    assert lines[-1].startswith("Of 2 gains over V")


def test_pictures_of_crops_are_drawn(picture, masks):
    proposals = Proposals.from_masks(masks)
    crops = visual_study.cut(picture, proposals, 24, CropConfig(fill="black"))
    assert crops.shape == (3, 24, 24, 3) and (crops[0] == 0).any(axis=-1).any()
    looks = {"a way": (crops, np.array([0.1, 0.3, 0.2])), "another": (crops, np.zeros(3))}
    assert visual_charts.crops_grid(looks, [2, 0, 1]).png().startswith(b"\x89PNG")
    found = visual_study.mistakes(part_of())
    both = found[(found["meant"] >= 0) & (found["chosen"] >= 0)]
    pairs = [crops[:2]] * len(both)
    assert visual_charts.confusion_pairs(both, pairs).png().startswith(b"\x89PNG")
    assert visual_charts.confusion_pairs(both[:0], []).png().startswith(b"\x89PNG")
