"""Files are their writer's alone until they are finished, and then as the umask says."""

import os
import stat

import light
import numpy as np
import pandas as pd
import pytest
from light import SIZE_HW, ask, grey, make_rows, run_of, scene_of
from PIL import Image
from served import Resource, serving

from tasutils import cli
from tasutils.canvas import Picture, save_picture
from tasutils.engines.failures import _write as write_failures
from tasutils.errors import TasError
from tasutils.execute import _write_whole
from tasutils.permissions import private
from tasutils.registry import PublishedModel, fetch, local
from tasutils.registry.fetch import Expected
from tasutils.store import SceneStore

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
MASKS = np.ones((3, 8, 9), bool)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def modes(monkeypatch):
    """The permissions of each file at the moment when it is finished; the umask is 027."""
    seen, chmod = [], os.chmod

    def noted(path, to, **options):
        seen.append(mode(path))
        chmod(path, to, **options)

    before = os.umask(0o027)
    monkeypatch.setattr(os, "chmod", noted)
    yield seen
    os.umask(before)


def download(folder, cut_after=None):
    with serving() as served:
        served.resources["/w.bin"] = Resource(b"x" * 5000, cut_after=cut_after)
        fetch.fetch(f"{served.url}/w.bin", folder / "w.bin", Expected(), lambda *_: None)


def store_scenes(folder):
    SceneStore(folder).put_many(make_rows(np.random.default_rng(0), MASKS, 3))


def note_weights(folder):
    from tasutils import paths

    with pytest.MonkeyPatch.context() as patch:
        for module in (paths, local.paths):
            patch.setattr(module, "WEIGHTS", folder)
        local.write_receipt(PublishedModel.model_construct(name="m", revision="1"), {})


WRITERS = {
    "picture": lambda folder: save_picture(folder / "p.png", Picture(figsize=(1, 1))),
    "page": lambda folder: _write_whole(folder / "p.html", "x"),
    "failures": lambda folder: write_failures(folder / "f.jsonl", "x"),
    "download": download,
    "scenes": store_scenes,
    "receipt": note_weights,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_private_while_it_is_written(tmp_path, modes, name):
    WRITERS[name](tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert modes and set(modes) == {0o600}, [oct(seen) for seen in modes]
    assert files and {mode(path) for path in files} == {0o640}, files


def test_a_half_fetched_file_stays_private(tmp_path):
    before = os.umask(0)
    try:
        with pytest.raises(TasError, match="broke after"):
            download(tmp_path, cut_after=0)
        (tmp_path / "w.bin.part").unlink(missing_ok=True)
        with pytest.raises(TasError, match="broke after"), pytest.MonkeyPatch.context() as patch:
            patch.setattr(fetch, "_ATTEMPTS", 1)
            download(tmp_path, cut_after=2000)
        left = sorted(tmp_path.iterdir())
        assert [path.name for path in left] == ["w.bin.part", "w.bin.part.tag"]
        assert {mode(path) for path in left} == {0o600}
    finally:
        os.umask(before)


def test_a_link_planted_where_a_file_will_be_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("x")
    (tmp_path / "a.part").symlink_to(victim)
    for how in ("wb", "ab", "w"):
        with (
            pytest.raises(OSError, match="symbolic link"),
            open(tmp_path / "a.part", how, opener=private),
        ):
            pytest.fail("opened")
    (tmp_path / "w.bin.part").symlink_to(victim)
    (tmp_path / "w.bin.part.tag").write_text('"v1"\n5000\n')
    with pytest.raises(OSError):
        download(tmp_path)
    assert victim.read_text() == "x"


def test_runs_masks_answers_and_grids(world, make_tas, tmp_path, modes):
    run = run_of(world[0], make_tas(), tmp_path / "out", masks=True)
    assert 0o700 in modes and mode(run.folder) == 0o750
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert len(files) > 3 and {mode(path) for path in files} == {0o640}
    modes.clear()
    grid = tmp_path / "grid.parquet"
    args = ["sweep", str(run.folder), "--alpha", "0", "--lam", "0", "--out", str(grid)]
    assert cli.main(args) == 0
    assert modes == [0o600] and mode(grid) == 0o640 and len(pd.read_parquet(grid))


def test_answers_of_segment(tmp_path, modes):
    from pathlib import Path

    from tasutils.answers import AnswerFolder
    from tasutils.config import load_preset

    with AnswerFolder(tmp_path / "out", ["the cat"]) as target:
        (stage,) = (tmp_path / "out").iterdir()
        assert mode(stage) == 0o700
        answer = ask(scene_of(light.MASKS))
        place = target.write(grey(SIZE_HW), answer, load_preset("tiny"), Path("x.png"))
        target.keep()
    assert {mode(path) for path in place.iterdir()} == {0o640} and mode(place) == 0o750
    assert Image.open(place / "mask.png").size == SIZE_HW[::-1]
