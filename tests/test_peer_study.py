"""TAS and its peers over the same sentences: which runs, for whom, the maps alone, the pictures."""

import numpy as np
import pandas as pd
import pytest
from light import METHODS, CountingTAS, FakeCaptioner, FakeEncoder, Smallest, make_dataset, runs_of

from tasutils.baselines import make_method
from tasutils.canvas import ANSWER
from tasutils.compare import compare_runs
from tasutils.config import load_preset
from tasutils.datasets import load_dataset
from tasutils.errors import TasError
from tasutils.images import read_image
from tasutils.language.parse import Parser
from tasutils.peer_charts import Question, peer_row, peers_plot
from tasutils.peer_maps import CUTS, map_scores
from tasutils.peer_study import (
    PEER_QUESTIONS,
    peer_breakdown,
    peer_runs,
    peer_words,
    published_numbers,
)
from tasutils.readable import peer_groups_table, peers_table
from tasutils.refer import parse_expression

SIZE_HW = (240, 320)


@pytest.fixture
def runs(tmp_path, tas, monkeypatch):
    """Runs of four methods over six pictures, found again as RefScenes'."""
    data = make_dataset(tmp_path)
    monkeypatch.setattr("tasutils.datasets.load_dataset", lambda *names: data)
    return runs_of(tmp_path, tas, tmp_path / "out", [*METHODS, Smallest()])


class Told:
    """A map that knows the answer: 1 on the target, or 1 everywhere else."""

    def __init__(self, name, truths, inside):
        self.name, self.truths, self.inside = name, truths, inside

    def heatmap(self, image, expression):
        return (self.truths[expression.text] == self.inside).astype(np.float32)

    def score(self, scene, expression, image):
        heat = self.heatmap(image, expression)
        return np.array([heat[mask].mean() for mask in scene.proposals.masks()])


def test_the_newest_runs_of_most_methods(tmp_path, tas, runs):
    out = tmp_path / "out"
    found = peer_runs(out, "tiny")
    assert [run.record.method for run in found] == [*METHODS, "smallest"]
    assert peer_runs(out, "photo") == []
    runs_of(tmp_path, tas, out, ["tas", "clip_only"], limit_images=2)  # newer, fewer methods
    assert [run.folder for run in peer_runs(out, "tiny")] == [run.folder for run in found]
    alone = tmp_path / "alone"
    runs_of(tmp_path, tas, alone, ["tas"])
    assert peer_runs(alone, "tiny") == []  # nothing to compare with


def test_groups_are_the_plain_means(runs):
    found = peer_breakdown(runs, n_boot=50)
    tables = {run.record.method: run.samples.set_index("sample_id") for run in runs}
    words = tables["tas"]["text"].map(lambda text: len(text.split()))
    for method, table in tables.items():
        for group, low, high in (("up to 3 words", 1, 3), ("4 to 6 words", 4, 6)):
            same = found[found["group"] == group].set_index("method")
            who = [low <= count <= high for count in words]
            assert (method in same.index) == any(who)
            if not any(who):
                continue
            values = [value for value, yes in zip(table["iou"], who, strict=True) if yes]
            assert same.loc[method, "mean"] == pytest.approx(np.mean(values))
            assert same.loc[method, "n"] == len(values)
            gain = same.loc[method, "mean"] - same.loc["tas", "mean"]
            told = same.loc[method, "difference"]
            assert np.isnan(told) if method == "tas" else told == pytest.approx(gain)
    for question in ("length", "size"):
        part = found[(found["question"] == question) & (found["method"] == "tas")]
        assert part["n"].sum() == len(words)  # every sentence is in one group


@pytest.mark.parametrize("question", PEER_QUESTIONS)
def test_the_groups_of_a_question_do_not_overlap(question):
    data = load_dataset("refscenes", "val")
    rows = pd.DataFrame([
        {"text": s.text, "gt_area_px": 100 * (i % 90), "image_px": 76_800, **s.flags}
        for i, s in enumerate(data.samples)
    ])  # fmt: skip
    members = [group(rows) for group in PEER_QUESTIONS[question].values()]
    assert (np.sum(members, axis=0) == 1).all()
    assert all(member.any() for member in members)


def test_other_sentences_are_refused(tmp_path, tas, runs):
    fewer = runs_of(tmp_path, tas, tmp_path / "out", ["clip_only"], limit_images=2)
    with pytest.raises(TasError, match="clip_only answer other sentences"):
        peer_breakdown([runs[0], *fewer], n_boot=10)


def test_words_and_tables_say_the_numbers(runs):
    table, groups = compare_runs(runs), peer_breakdown(runs, n_boot=50)
    lines = peer_words(table, groups)
    assert f"tas reaches {100 * table['miou'].iloc[0]:.1f} [" in lines[0]
    best = table.iloc[1:].sort_values("miou").iloc[-1]
    assert f"the others is {best['method']} with {100 * best['miou']:.1f}" in lines[0]
    html = peers_table(table, "a caption").to_html()
    assert html.count("<tr>") == 1 + len(runs) and "a caption" in html
    assert f"{100 * table['miou'].iloc[1]:.1f} [" in html
    groups_html = peer_groups_table(groups, "caption").to_html()
    assert "up to 3 words" in groups_html or "4 to 6 words" in groups_html
    assert "nan" not in groups_html and "smallest" in groups_html


def test_maps_judged_alone():
    tas, data = load_dataset_tas(), load_dataset("refscenes", "val")
    samples = data.by_image()[data.image_ids[0]]
    truths = {sample.text: data.gt_mask(sample) for sample in samples}
    methods = [Told("knows", truths, True), Told("inverts", truths, False), Smallest()]
    found = map_scores(methods, data, tas, 1)
    assert list(found.index) == ["knows", "inverts"]  # Smallest has no map
    assert found.loc["knows", ["pointing", "miou@0.5", "best_miou"]].tolist() == [1, 1, 1]
    assert found.loc["inverts", ["pointing", "miou@0.5", "best_miou"]].tolist() == [0, 0, 0]
    assert found["n"].tolist() == [len(samples)] * 2
    assert set(found["best_cut"]) <= set(CUTS)


def load_dataset_tas():
    return CountingTAS(load_preset("tiny"), None, None, None, Parser(), "cpu")


def test_published_numbers_leave_blank_what_has_no_source():
    table = published_numbers().set_index("method")
    tas = table.loc["TAS (EMNLP 2023)"]
    assert "not sourced" in tas["source"] and not "".join(tas.drop(["proposals", "source"]))
    assert set(table["kind"].drop("TAS (EMNLP 2023)")) == {"P", "S"}  # no secondary summaries
    assert table.loc["Global-Local CLIP (CVPR 2023)", "RefCOCO val"] == "26.20"
    assert table.loc["TSEG (weakly supervised)", "RefCOCO testA"] == ""
    assert not table.index.str.contains("Ref-Diff|SAM-CLIP").any()


def test_a_row_shows_the_map_or_the_masks():
    data = load_dataset("refscenes", "val")
    image_id = data.image_ids[2]
    image, samples = read_image(data.image_path(image_id)), data.by_image()[image_id][:2]
    truths = {sample.text: data.gt_mask(sample) for sample in samples}
    tas = load_dataset_tas_with_oracle(truths)
    scene = tas.describe(image)
    questions = [
        Question(parse_expression(s.text, tas.language, tas.preset), truths[s.text])
        for s in samples
    ]
    told = peer_row(Told("knows", truths, True), image, scene, questions)
    assert "IoU 1.00, the best mask has 1.00" in texts(told)
    chosen = peer_row(make_method("text_only", tas), image, scene, questions)
    assert chosen.get_figheight() > told.get_figheight()  # what it is shown, and the captions
    assert any("1:" in text for text in texts(chosen))
    assert colors(told) & {ANSWER.lower()} and len(told.axes) == 2
    assert len(chosen.axes) == 2 + 2 * len(scene.proposals)


def load_dataset_tas_with_oracle(truths):
    masks = np.stack(list(truths.values()))

    class Oracle:
        def __call__(self, image):
            from tasutils.scene import Proposals

            return Proposals.from_masks(masks)

    return CountingTAS(
        load_preset("tiny"), Oracle(), FakeEncoder(), FakeCaptioner(), Parser(), "cpu"
    )


def texts(picture):
    return [text.get_text() for text in picture.texts]


def colors(picture):
    from matplotlib.colors import to_hex

    return {
        to_hex(color)
        for ax in picture.axes
        for collection in ax.collections
        for color in collection.get_edgecolor()
    }


def test_the_chart_has_every_method_once(runs):
    picture = peers_plot(compare_runs(runs), note="six pictures")
    (ax,) = [ax for ax in picture.axes if ax.get_visible()]
    assert [t.get_text() for t in ax.get_yticklabels()] == [*METHODS, "smallest"]
    assert "six pictures" in texts(picture)[0]
