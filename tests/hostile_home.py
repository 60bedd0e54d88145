"""A home of the project whose RefCOCO is someone else's: every name in it is a piece of HTML."""

import json
import pickle
import shutil
from pathlib import Path

from tasutils import paths
from tasutils.datasets.files import load_plain

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
    source = paths.REFSCENES / "refscenes"
    refs = [ref for ref in load_plain(source / "refs(tas).p") if ref["split"] == "val"]
    kept = list(dict.fromkeys(ref["image_id"] for ref in refs))[:pictures]
    refs = [ref for ref in refs if ref["image_id"] in kept]
    content = json.loads((source / "instances.json").read_text(encoding="utf-8"))
    content["images"] = [image for image in content["images"] if image["id"] in kept]
    images, place = data / "coco" / "train2014", data / "refcoco"
    images.mkdir(parents=True)
    place.mkdir()
    for image in content["images"]:
        old, image["file_name"] = image["file_name"], f"{FILE}{image['id']}.jpg"
        shutil.copyfile(paths.REFSCENES / "images" / old, images / image["file_name"])
    for category in content["categories"]:
        category["name"] = f"{HOSTILE} {category['name']}"
    for sentence in (sentence for ref in refs for sentence in ref["sentences"]):
        for name in ("sent", "raw"):
            sentence[name] = f"{sentence[name]} {HOSTILE}"
    (place / "instances.json").write_text(json.dumps(content), encoding="utf-8")
    (place / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    return folder
