"""Presets: complete, frozen, sourced."""

import pytest
import yaml
from pydantic import ValidationError

from tasutils.config import CropConfig, load_preset
from tasutils.errors import TasError
from tasutils.tas import load, pick_device


def test_paper_states_the_article():
    preset = load_preset("paper")
    assert not set(preset.leaves()) - set(preset.sources) - set(preset.assumed)
    assert preset.proposals.points_per_side == 8
    assert preset.proposals.pred_iou_thresh == preset.proposals.stability_score_thresh == 0.7
    assert preset.weights()["p"] == 0.1 and preset.rectifier.form == "paper"
    n = {name: preset.weights(name)["n"] for name in (None, "refcoco", "refcoco+")}
    assert n == {None: preset.terms["n"].weight["default"], "refcoco": 0.1, "refcoco+": 1.0}
    assert "terms.n.weight.refcocog" in preset.assumed


def test_frozen_and_strict():
    with pytest.raises(ValidationError):
        load_preset("tiny").overlap.min_area_px = 1
    with pytest.raises(ValidationError):
        CropConfig(colour="black")


def test_digests_tell_the_halves_apart():
    preset = load_preset("tiny")
    assert preset.digest() == load_preset("tiny").digest()
    for change in ({"terms.p.weight": 0.7}, {"rectifier.form": "none"}):
        other = preset.override(change)
        assert other.digest() != preset.digest()
        assert other.describe_digest() == preset.describe_digest()
    for change in ({"overlap.min_area_px": 7}, {"captioner.crop.fill": "mean"}):
        assert preset.override(change).describe_digest() != preset.describe_digest()
    assert preset.override({"terms.p.weight": preset.weights()["p"]}).digest() == preset.digest()


def test_describe_digest_follows_the_weights(tmp_path):
    weights = tmp_path / "clip.safetensors"
    weights.write_bytes(b"one")
    preset = load_preset("tiny").override({"encoder.checkpoint": str(weights)})
    first = preset.describe_digest()
    assert preset.describe_digest() == first
    weights.write_bytes(b"two!")
    second = preset.describe_digest()
    weights.unlink()
    assert len({first, second, preset.describe_digest()}) == 3


def test_override_marks_its_source():
    preset = load_preset("paper").override(
        {"overlap.max_overlap": None, "terms.n.weight.refscenes": 0.3}
    )
    assert preset.overlap.max_overlap is None
    assert preset.weights("refscenes")["n"] == 0.3
    assert preset.sources["overlap.max_overlap"] == "override"
    assert "overlap.max_overlap" not in preset.assumed
    whole = preset.override({"terms.n.weight": {"default": 1, "a": 1}})
    assert whole.sources["terms.n.weight.a"] == "override"
    assert "terms.n.weight.refcoco" not in whole.sources


@pytest.mark.parametrize(
    "changes",
    [
        {"alpha": 1},
        {"terms.q.weight": 1},
        {"terms.p.weight": "much"},
        {"a.b.c": 1},
        {"crop.fill.x": 1},
        {"crop.blur_kernel_px": 4},
        {"encoder.template": "{x}"},
    ],
)
def test_bad_overrides(changes):
    with pytest.raises(TasError) as error:
        load_preset("tiny").override(changes)
    assert "\n" not in str(error.value)


def test_preset_files(tmp_path):
    path, data = tmp_path / "mine.yaml", load_preset("tiny").model_dump()
    path.write_text(yaml.safe_dump(data | {"name": "mine"}))
    assert load_preset(path).digest() == load_preset("tiny").digest()
    extra, stray = (data | more for more in ({"extra": 1}, {"assumed": ["terms.q.weight"]}))
    texts = {
        "a: [": "no valid YAML", "\x00": "no valid YAML", "[]": "a valid dictionary",
        "": "a valid dictionary", "name: x": "description: Field required",
        yaml.safe_dump(extra): "extra: Extra inputs", yaml.safe_dump(stray): "no field",
    }  # fmt: skip
    for text, words in texts.items():
        path.write_text(text)
        with pytest.raises(TasError, match=words) as error:
            load_preset(path)
        assert "\n" not in str(error.value)
    for name in ("", "huge", "../tiny", "absent.yaml", "tiny.yaml"):
        with pytest.raises(TasError, match="choose one of"):
            load_preset(name)


def test_parts_are_lazy_and_missing_weights_are_named():
    tas = load("paper", device="cpu")
    assert "proposer" not in tas.__dict__
    for part in ("proposer", "encoder", "captioner"):
        with pytest.raises(TasError, match="GB") as error:
            getattr(tas, part)
        assert "\n" not in str(error.value) and "tas models get" in str(error.value)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", "", "cpu cpu"])
def test_unknown_device(name):
    with pytest.raises(TasError, match="choose cpu"):
        pick_device(name)


def test_a_preset_says_only_what_differs_from_another(tmp_path):
    tiny, graded = load_preset("tiny"), load_preset("tiny_graded")
    assert graded.describe_digest() == tiny.describe_digest() and graded.digest() != tiny.digest()
    assert graded.weights("refscenes") == tiny.weights("refscenes") | {
        "d": 0.15, "z": 0.1, "r": 0.25, "o": 0.15, "h": 1, "w": 0.02
    }  # fmt: skip
    own = tmp_path / "own.yaml"
    own.write_text("name: own\nextends: tiny\nproposals: {points_per_side: 4}\nterms: {p: 0}\n")
    assert load_preset(own).proposals.points_per_side == 4
    assert load_preset(own).proposals.pred_iou_thresh == tiny.proposals.pred_iou_thresh
    own.write_text("name: own\nextends: tiny\nproposals: {kind: merge}\n")
    assert load_preset(own).proposals.kind == "merge"
