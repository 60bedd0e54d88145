"""Write the golden run anew, after a wanted change only: `python tests/golden/make.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tasutils
from tasutils.datasets import load_dataset
from tasutils.masks import encode_rle

FOLDER = Path(__file__).parent
N_IMAGES = {"val": 4, "valP": 2}
PRESETS = {"val": "tiny", "valP": "photo"}
N_SENTENCES = 6


def golden_file(split: str) -> Path:
    """Where the golden run of a split lies."""
    return FOLDER / f"refscenes_{split}.json"


def run(split: str) -> list[dict[str, Any]]:
    """The first pictures of a split of refscenes, described and asked, as plain values."""
    data, tas = load_dataset("refscenes", split), tasutils.load(PRESETS[split])
    images = []
    for image_id, samples in list(data.by_image().items())[: N_IMAGES[split]]:
        scene = tas.describe(data.image_path(image_id), image_id=image_id)
        answers = [tas.refer(scene, s.text, dataset="refscenes") for s in samples[:N_SENTENCES]]
        images.append(
            {
                "image_id": image_id,
                "n_proposals": len(scene.proposals),
                "image_caption": scene.image_caption,
                "answers": [
                    {
                        "text": answer.expression.text,
                        "rle": encode_rle(answer.mask()[None])[0],
                        "scores": [float(x[answer.chosen]) for x in (answer.v, answer.p, answer.n)],
                        "negatives": list(answer.negatives),
                        "directions": [d.name for d in answer.expression.directions],
                    }
                    for answer in answers
                ],
            }
        )
    return images


if __name__ == "__main__":
    for name in PRESETS:
        golden_file(name).write_text(json.dumps(run(name), indent=1) + "\n", encoding="utf-8")
