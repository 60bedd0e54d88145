"""What `test_ray` asks of the engine ray, in a process of its own: one Ray, two descriptions.

A process that has used Ray must not be forked afterwards. Argument: a new folder.
"""

import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import yaml
from light import make_pictures, store_differences

from tasutils import cli, datasets
from tasutils.config import load_preset
from tasutils.engines import ray as engine
from tasutils.store import SceneStore

# a proposer of one's own; after some pictures of all processes together one of these is killed
MINE = """
import os, signal
from pathlib import Path
import numpy as np
from tasutils.config import ProposerSettings

HERE = Path(__file__).parent

def boxes(image):
    n = len(os.listdir(HERE / "seen"))
    (HERE / "seen" / f"{n} {os.getpid()}").touch()
    if n >= int((HERE / "deadly").read_text()) and not (HERE / "seen" / "died").exists():
        (HERE / "seen" / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    masks = np.zeros((3, *image.shape[:2]), bool)
    masks[0, :9, :9] = masks[1, 5:, image[0, 0, 0] // 10 :] = masks[2, :7] = True
    return masks

class Mine(ProposerSettings):
    kind: str = "mine:Mine"

    def make(self, overlap, device, compute):
        return boxes
"""


def described(folder, out, engine, deadly="99"):
    """Exit code, output and errors of `tas describe`, in which a picture may be deadly."""
    (folder / "deadly").write_text(deadly)
    for path in (folder / "seen").iterdir():
        path.unlink()
    args = ["describe", "refscenes", "val", "--preset", str(folder / "mine.yaml")]
    with redirect_stdout(StringIO()) as said, redirect_stderr(StringIO()) as told:
        code = cli.main([*args, "--engine", engine, "--device", "cpu", "--out", str(folder / out)])
    return code, said.getvalue(), told.getvalue()


def main(folder):
    (folder / "seen").mkdir()
    (folder / "mine.py").write_text(MINE)
    preset = load_preset("tiny").override({"compute.image_batch": 3}).model_dump()
    preset |= {"name": "mine", "proposals": {"kind": "mine:Mine"}}
    preset["sources"] = {k: x for k, x in preset["sources"].items() if "proposals" not in k}
    (folder / "mine.yaml").write_text(yaml.safe_dump(preset))
    data = make_pictures(folder / "pictures", 20)
    paths = [entry.path for entry in data.images.values()]
    paths[12].write_bytes(paths[1].read_bytes())
    paths[2].write_text("no picture")
    paths[17].unlink()
    datasets.load_dataset = lambda *_: data

    with engine._session(None):
        engine._RETRIES, usual = 0, engine._RETRIES
        code, said, told = described(folder, "o", "ray", deadly="7")
        assert code == 2 and "a picture made 1 processes of Ray die" in told, (code, said, told)
        engine._RETRIES = usual
        there = len(SceneStore(folder / "o" / "scenes").keys())
        code, said, told = described(folder, "o", "ray", deadly="1")
        pids = {path.name.split()[-1] for path in (folder / "seen").glob("* *")}
        assert len(pids) > 1, "another took the work of the killed one"
    import ray

    assert not ray.is_initialized()
    scenes = folder / "o" / "scenes"
    # image 12 has the scene of image 1; Ray may print lines of its own about what died
    wanted = f"done {17 - there}, had {there + 1}, failed 2; scenes in {scenes}\n"
    assert code == 1 and said.endswith(wanted), (code, said, wanted)
    faults = [line for line in told.splitlines() if line.startswith("tas: ")]
    assert len(faults) == 2 and "describe: 20/20 images" in told, told
    recorded = [json.loads(line) for line in (scenes / "failed-drawn-val.jsonl").open()]
    assert [line["image_id"] for line in recorded] == ["image 2", "image 17"]

    described(folder, "whole", "local")
    whole, store = SceneStore(folder / "whole" / "scenes"), SceneStore(scenes)
    assert store_differences(whole, store) == [] and len(list(store.scenes())) == 17


if __name__ == "__main__":
    main(Path(sys.argv[1]))
