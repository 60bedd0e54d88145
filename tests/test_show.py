"""Pictures: what they show, that nothing is cut off, and that odd input draws without a warning."""

import io
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from light import MASKS, SIZE_HW, ask, grey, scene_of
from matplotlib.colors import to_rgb
from PIL import Image

from tasutils import charts, show
from tasutils.errors import TasError
from tasutils.rectifier import in_region
from tasutils.show import OKABE_ITO, Picture, fit_text


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.png())).convert("RGB"))


def inside_figure(picture: Picture) -> bool:
    """Does all that is drawn lie within the figure?"""
    picture.canvas.draw()
    box = picture.get_tightbbox()  # inches
    width, height = picture.get_size_inches()
    slack = 0.02
    return bool(min(box.x0, box.y0) > -slack and box.x1 < width + slack and box.y1 < height + slack)


def share(image: np.ndarray, color: str) -> float:
    """Share of the pixels that have a colour, nearly."""
    wanted = np.array(to_rgb(color)) * 255
    return float((np.abs(image - wanted).max(axis=-1) < 12).mean())


def test_the_overlay_fills_the_answer_and_outlines_the_truth():
    answer = ask(scene_of(MASKS))
    with_truth = show.overlay(grey(SIZE_HW), answer, MASKS[3])
    plain, compared = pixels(show.overlay(grey(SIZE_HW), answer)), pixels(with_truth)
    tint = 0.38 * np.array(to_rgb(OKABE_ITO["orange"])) + 0.62 * np.full(3, 128 / 255)
    drawn_area = (np.abs(plain / 255 - tint).max(axis=-1) < 0.03).sum()
    scale = (5.8 - 0.16) * 110 / SIZE_HW[1]
    assert drawn_area == pytest.approx(MASKS[answer.best].sum() * scale**2, rel=0.35)
    assert share(plain, OKABE_ITO["blue"]) == 0 < share(compared, OKABE_ITO["blue"])
    assert "IoU" in with_truth.alt


@pytest.mark.parametrize(
    "sentence",
    [
        "左の赤い車 🚗 $x^2_$",
        "a very long sentence " * 40,
        "Donaudampfschifffahrtsgesellschaft" * 9,
    ],
)
def test_any_sentence_fits_into_the_picture(sentence):
    answer = ask(scene_of(MASKS), sentence)
    for picture in (
        show.overlay(grey(SIZE_HW), answer, MASKS[0]),
        show.region_picture(grey(SIZE_HW), answer),
        charts.score_bars(answer),
        show.gallery([show.Example(grey(SIZE_HW), answer, None, sentence)] * 4),
    ):
        assert inside_figure(picture)


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 400), (1500, 20), SIZE_HW])
def test_any_size_of_picture_is_drawn_and_none_without_masks_is_silent(size_hw):
    masks = np.zeros((2, *size_hw), bool)
    masks[0] = True
    masks[1, : max(1, size_hw[0] // 2), : max(1, size_hw[1] // 2)] = True
    for some in (masks, masks[:0]):
        scene = scene_of(some)
        answer, grid = ask(scene), show.proposals_grid(grey(size_hw), scene)
        drawn = [show.overlay(grey(size_hw), answer, masks[1]), grid]
        for picture in (*drawn, show.region_picture(grey(size_hw), answer)):
            assert inside_figure(picture)
            height, width = pixels(picture).shape[:2]
            assert 30 < height < 2500 and 30 < width < 2500
        assert inside_figure(charts.score_bars(answer))
        assert ("no mask" in grid.texts[0].get_text()) == (not len(some))


def test_the_region_picture_darkens_what_the_rectifier_leaves_out():
    scene = scene_of(MASKS)
    answer = ask(scene, "the cat on the left")
    picture = show.region_picture(grey(SIZE_HW), answer)
    image, box = pixels(picture), picture.axes[0].get_window_extent()
    row = image.shape[0] - int((box.y0 + box.y1) / 2)
    columns = [int(box.x0 + box.width * f) for f in (0.02, 0.4, 0.6, 0.98)]
    bright = [image[row, column].mean() > 100 for column in columns]
    centers = np.array([[f * SIZE_HW[1], 30] for f in (0.02, 0.4, 0.6, 0.98)])
    assert bright == in_region(centers, SIZE_HW, ["left"]).tolist()


def test_bars_add_up_to_the_scores_and_hatch_what_is_outside():
    answer = ask(scene_of(MASKS), "the cat on the left")
    ax = charts.score_bars(answer).axes[0]
    n = len(MASKS)
    widths = np.array([bar.get_width() for bar in ax.patches]).reshape(3, n)
    order = show.best_first(answer)
    assert order[0] == answer.best
    assert np.allclose(widths.sum(axis=0), answer.total[order])
    hatched = [bar.get_hatch() is not None for bar in ax.patches[:n]]
    assert hatched == (~answer.in_region[order]).tolist()
    assert ax.get_yticklabels()[0].get_text().endswith(f"  {answer.best}")


def test_an_overlay_is_written_whole_or_not_at_all(tmp_path):
    answer = ask(scene_of(MASKS))
    show.save_overlay(tmp_path / "overlay.png", grey(SIZE_HW), answer)
    assert [path.name for path in tmp_path.iterdir()] == ["overlay.png"]
    assert Image.open(tmp_path / "overlay.png").size[0] > 300
    (tmp_path / "taken.png").mkdir()
    for name in ("no/overlay.png", "taken.png"):
        with pytest.raises(TasError, match="cannot write"):
            show.save_overlay(tmp_path / name, grey(SIZE_HW), answer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["overlay.png", "taken.png"]


@settings(deadline=None)
@given(st.text(max_size=300), st.floats(0.5, 8), st.integers(1, 4))
def test_text_keeps_to_its_lines(text, width_in, lines):
    fitted = fit_text(text, width_in, 9, lines)
    assert 1 <= len(fitted) <= lines
    assert all(len(line) <= max(4, width_in * 72 / (9 * 0.58)) for line in fitted)


def ablation_rows(families) -> pd.DataFrame:
    """Each variant, 30 % without and 40 % with the rectifier; the oracle, 60 %."""
    variants = [(name, on) for name in ("V", "V+P", "V+N", "V+P+N") for on in (False, True)]
    rows = [(f, "val", *variant) for f in families for variant in [*variants, ("oracle", False)]]
    table = pd.DataFrame(rows, columns=["family", "split", "variant", "rectifier"])
    mean = 0.3 + 0.1 * table["rectifier"] + 0.3 * (table["variant"] == "oracle")
    return table.assign(mean=mean, low=mean - 0.05, high=mean + 0.05, n=40)


@pytest.mark.parametrize("families", [("a",), ("a", "b", "c")])
def test_the_ablation_plot_has_a_point_with_whiskers_for_each_number(families):
    table = ablation_rows(families)
    picture = charts.ablation_plot(table, note="partial, n = 40")
    drawn = [ax for ax in picture.axes if ax.axison]
    assert [ax.get_title(loc="left") for ax in drawn] == [f"{f} val, n = 40" for f in families]
    for ax in drawn:
        points = [line for line in ax.lines if line.get_marker() in ("o", "s")]
        assert len(points) == 8
        assert sorted({round(float(line.get_xdata()[0]), 6) for line in points}) == [30.0, 40.0]
        whiskers = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2]
        assert sum(np.ptp(x) == pytest.approx(10) for x in whiskers) == 8
        assert any(np.allclose(x, 60) for x in whiskers)
    assert "partial, n = 40" in picture.alt
    assert inside_figure(picture)


def test_drawing_needs_neither_pyplot_nor_torch():
    code = (
        "import sys, numpy as np; from tasutils import show, charts;"
        "show.picture_axes((4, 4), 3, 0.1, 0.1)[0].png();"
        "print(sorted({'torch', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
