"""A home of the project whose RefCOCO is someone else's: every name in it is a piece of HTML."""

import json
import pickle
from pathlib import Path

from tasutils import paths
from tasutils.datasets.miniature import write_miniatures
from tasutils.datasets.pickles import load_plain
from tasutils.datasets.published import IMAGE_FOLDERS

HOSTILE = '<img src=x onerror="window.hacked=1">'
FILE = "<img src=x onerror=window.hacked=1>"
#: describes the pictures and puts them into a store, all captions hostile; for a process of its own
DESCRIBE = f"""\
import sys
from dataclasses import replace
import tasutils
from tasutils.datasets import load_dataset
from tasutils.store import SceneStore, scene_key
data, tas = load_dataset("refcoco", "val"), tasutils.load("tiny", device="cpu")
said = {HOSTILE!r}
for name in data.image_ids:
    image = tasutils.read_image(data.image_path(name))
    scene = tas.describe(image, image_id=name)
    captions = [f"{{said}} {{caption}}" for caption in scene.captions]
    scene = replace(
        scene, captions=captions, captions_raw=captions, image_caption=said,
        image_caption_raw=said, phrases=[f"{{said}} {{phrase}}" for phrase in scene.phrases],
    )
    SceneStore(sys.argv[1]).put(scene_key(image, tas.preset.describe_digest()), scene)
"""


def make_home(folder: Path, pictures: int = 2) -> Path:
    """Make such a home, with the project's weights and notebooks; returns it, for TAS_HOME."""
    data = folder / "data"
    data.mkdir(parents=True)
    for entry in paths.DATA.iterdir():
        if not entry.name.startswith(("refcoco", "images", "phrasecut", "VGPhraseCut")):
            (data / entry.name).symlink_to(entry)
    (folder / "notebooks").symlink_to(paths.NOTEBOOKS)
    write_miniatures(data, pictures)
    place = data / "refcoco"
    content = json.loads((place / "instances.json").read_text(encoding="utf-8"))
    for image in content["images"]:
        old = data / IMAGE_FOLDERS[0] / image["file_name"]
        image["file_name"] = f"{FILE}{image['id']}.jpg"
        old.rename(old.with_name(image["file_name"]))
    for category in content["categories"]:
        category["name"] = f"{HOSTILE} {category['name']}"
    (place / "instances.json").write_text(json.dumps(content), encoding="utf-8")
    (file,) = place.glob("refs(*).p")
    refs = load_plain(file)
    for ref in refs:
        for sentence in ref["sentences"]:
            for name in ("sent", "raw"):
                sentence[name] = f"{sentence[name]} {HOSTILE}"
    file.write_bytes(pickle.dumps(refs, protocol=2))
    return folder
