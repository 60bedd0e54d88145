"""Write the golden run anew, after a wanted change only: `python tests/golden/make.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tasutils
from tasutils.datasets import load_dataset
from tasutils.masks import encode_rle

GOLDEN = Path(__file__).with_name("refscenes_val.json")
N_IMAGES, N_SENTENCES = 4, 6


def run() -> list[dict[str, Any]]:
    """The first pictures of refscenes val, described and asked, as plain values."""
    data, tas = load_dataset("refscenes", "val"), tasutils.load("tiny")
    images = []
    for image_id, samples in list(data.by_image().items())[:N_IMAGES]:
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
    GOLDEN.write_text(json.dumps(run(), indent=1) + "\n", encoding="utf-8")
