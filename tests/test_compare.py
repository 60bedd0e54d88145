"""Several methods over the same scenes, and their runs side by side."""

import json
import os
import pickle

import numpy as np
import pytest
from light import METHODS, Smallest, make_dataset, runs_of

from tasutils import cli
from tasutils.baselines import scores_of
from tasutils.compare import WON, compare_runs, compare_text
from tasutils.errors import TasError
from tasutils.evaluate import evaluate_all
from tasutils.metrics import iou
from tasutils.runs import read_run


class Liar:
    name = "liar"

    def score(self, scene, expression, image):
        return np.zeros(3)


class Nowhere:
    name = "nowhere"

    def score(self, scene, expression, image):
        return np.full(len(scene.proposals), np.nan)


def test_methods_share_scenes_and_data_sets_share_pictures(tmp_path, tas):
    first = make_dataset(tmp_path)
    second = make_dataset(tmp_path, "refscenes+", sentences=["dog", "red thing"])
    folders = evaluate_all(
        [first, second], tas, [*METHODS, Smallest()], out=tmp_path / "out", progress=False
    )
    records = [read_run(folder).record for folder in folders]
    assert tas.n_described == 6  # as many as there are pictures
    assert [r.dataset for r in records] == ["refscenes"] * 4 + ["refscenes+"] * 4
    assert [r.method for r in records] == [*METHODS, "smallest"] * 2
    assert [r.n_used for r in records] == [30] * 4 + [12] * 4
    assert sum(r.n_described for r in records) == 6
    assert all("clip_only" in f.name for f in folders if read_run(f).record.method == "clip_only")
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".")]
    oracles = {r.metrics["oracle_miou"].value for r in records[:4]}
    assert len(oracles) == 1  # the same proposals


def test_a_method_chooses_its_highest_score(tmp_path, tas):
    make_dataset(tmp_path)
    run_tas, run_v, run_p, run_small = runs_of(
        tmp_path, tas, tmp_path / "out", [*METHODS, Smallest()]
    )
    table = run_tas.scores()
    for run, column in ((run_v, "v"), (run_p, "p")):
        scores = run.scores()
        assert list(scores.columns[:3]) == ["sample_id", "proposal", "score"]
        assert np.allclose(scores["score"], table[column])
        best = scores.groupby("sample_id", sort=False)["score"].apply(lambda s: s.argmax())
        chosen = run.samples().set_index("sample_id")["chosen"]
        assert (chosen[best.index] == best).all()
        assert (chosen.drop(best.index) == -1).all()  # the white picture has no mask
    small = run_small.samples()
    assert small.loc[small["chosen"] >= 0, "reason"].str.contains("smallest").all()
    assert list(run_v.record.method_settings) == ["encoder"]


def test_no_method_sees_the_ground_truth(tmp_path, tas):
    make_dataset(tmp_path)
    wanted = [*METHODS, Smallest()]
    before = runs_of(tmp_path, tas, tmp_path / "out", wanted)
    path = tmp_path / "refscenes" / "instances.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["segmentation"] = [[0, 0, 31, 0, 31, 9, 0, 9]]
    path.write_text(json.dumps(content))
    after = runs_of(tmp_path, tas, tmp_path / "out2", wanted)
    for one, other in zip(before, after, strict=True):
        assert (one.samples()["chosen"] == other.samples()["chosen"]).all()
        assert (one.samples()["gt_area_px"] != other.samples()["gt_area_px"]).any()


def test_a_comparison_by_hand(tmp_path, tas):
    make_dataset(tmp_path)
    runs = runs_of(tmp_path, tas, tmp_path / "out")
    table = compare_runs(runs)
    assert table["label"].tolist() == ["tas (tiny)", "clip_only (tiny)", "text_only (tiny)"]
    assert np.isnan(table["miou_difference"][0]) and np.isnan(table["won"][0])
    for row, run in zip(table.index[1:], runs[1:], strict=True):
        mine, theirs = (r.samples() for r in (run, runs[0]))
        gain = [iou(t["intersection_px"], t["union_px"]) for t in (mine, theirs)]
        assert table["miou_difference"][row] == pytest.approx(np.mean(gain[0] - gain[1]))
        assert table["won"][row] == (gain[0] - gain[1] > WON).sum()
        assert table["lost"][row] == (gain[1] - gain[0] > WON).sum()
        ends = table.loc[row, ["miou_difference_low", "miou_difference_high"]]
        assert ends.iloc[0] <= table["miou_difference"][row] <= ends.iloc[1]


def test_a_run_against_itself(tmp_path, tas):
    make_dataset(tmp_path)
    first, again = (runs_of(tmp_path, tas, tmp_path / n, ["clip_only"])[0] for n in "ab")
    row = compare_runs([first, again]).iloc[1]
    zeros = ["miou_difference", "miou_difference_low", "miou_difference_high", "won", "lost"]
    assert (row[zeros].astype(float) == 0).all()


def test_what_cannot_be_compared(tmp_path, tas):
    make_dataset(tmp_path)
    (whole,) = runs_of(tmp_path, tas, tmp_path / "out", ["tas"])
    (part,) = runs_of(tmp_path, tas, tmp_path / "out", ["tas"], limit_images=3)
    with pytest.raises(TasError, match="two or more"):
        compare_runs([whole])
    with pytest.raises(TasError, match="different sentences"):
        compare_runs([whole, part])


@pytest.mark.parametrize(("wanted", "words"), [("nonsense", "no method"), (Liar(), "finite score")])
def test_methods_that_do_not_fit(tmp_path, tas, wanted, words):
    make_dataset(tmp_path)
    with pytest.raises(TasError, match=words) as error:
        runs_of(tmp_path, tas, tmp_path / "out", [wanted])
    assert "\n" not in str(error.value)
    assert not os.path.exists(tmp_path / "out") or not os.listdir(tmp_path / "out")


def test_scores_are_checked(tmp_path, tas):
    data = make_dataset(tmp_path)
    path = data.image_path(data.image_ids[0])
    scene = tas.describe(str(path))
    with pytest.raises(TasError, match="not finite"):
        scores_of(Nowhere(), scene, None, None)


def test_on_the_command_line(tmp_path, tas, capsys):
    make_dataset(tmp_path)
    runs = runs_of(tmp_path, tas, tmp_path / "out")
    folders = [str(run.folder) for run in runs]
    assert cli.main(["compare", *folders]) == 0
    page = capsys.readouterr().out
    assert page.strip() == compare_text(compare_runs(runs)).strip()
    assert "n = 30 sentences, 6 images" in page and page.count("(tiny)") >= 3
    assert cli.main(["compare", folders[0]]) == 2
    assert cli.main(["compare", folders[0], str(tmp_path)]) == 2
    assert cli.main(["evaluate", "refscenes", "val", "--method", "nonsense"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 3 and "nonsense" in lines[-1] and "clip_only" in lines[-1]


def test_a_stray_pickle_is_no_run(tmp_path, capsys):
    (tmp_path / "run.json").write_bytes(pickle.dumps({}))
    assert cli.main(["compare", str(tmp_path), str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
