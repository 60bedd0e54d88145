"""Runs made by hand: a few sentences with the scores of their masks, as a part of a study."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from tasutils.study import Part

AREA = 100


def part_of(sentences, config=None, family="refscenes", alpha=0.5, lam=0.8):
    """A run of sentences, each a dict of masks (v, p, n, inside, pixels) and columns of samples."""
    samples, scores = [], []
    for i, sentence in enumerate(sentences):
        masks = sentence["masks"]
        ious = [inter / union for *_, (inter, union) in masks]
        best = masks[int(np.argmax(ious))][-1] if masks else (0, AREA)
        samples.append({
            "sample_id": f"s{i}", "image_id": f"image {i // 2}", "ref_id": f"r{i}",
            "text": f"dog {i}", "raw": f"Dog {i}.", "gt_area_px": AREA,
            "oracle_intersection_px": best[0], "oracle_union_px": best[1],
            **{name: value for name, value in sentence.items() if name not in ("masks", "unread")},
        })  # fmt: skip
        for k, (v, p, n, inside, (inter, union)) in enumerate(masks):
            if not sentence.get("unread"):
                scores.append({
                    "sample_id": f"s{i}", "proposal": k, "v": v, "p": p, "n": n, "region": inside,
                    "intersection_px": inter, "union_px": union, "gt_area_px": AREA,
                })  # fmt: skip
    record = SimpleNamespace(
        run_id=family, method="tas", preset="tiny", dataset=family, split="val", alpha=alpha,
        lam=lam, partial=True, n_used=len(samples), n_total=99, n_images=len(samples) // 2,
        config={"language": {"spacy_model": "en_core_web_sm"}, **(config or {})},
    )  # fmt: skip
    columns = ["sample_id", "proposal", "v", "p", "n", "region", "intersection_px", "union_px"]
    frames = pd.DataFrame(samples), pd.DataFrame(scores, columns=[*columns, "gt_area_px"])
    run = SimpleNamespace(record=record, samples=lambda: frames[0], scores=lambda: frames[1])
    return Part(run)
