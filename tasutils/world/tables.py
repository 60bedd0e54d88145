"""The scene graph and the expressions as tables, for error analysis and for checking the world."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import pandas as pd

from tasutils.world.build import Picture
from tasutils.world.expressions import FAMILIES

SENTENCE_FAMILIES = FAMILIES[:3]


def ann_id(picture: Picture, index: int) -> int:
    """COCO annotation id of a thing."""
    return picture.image_id * 100 + index


def scene_table(pictures: Iterable[tuple[str, Picture]]) -> pd.DataFrame:
    """One row a thing: what it is, how it was drawn, what is seen of it."""
    rows = []
    for split, picture in pictures:
        for index, thing in enumerate(picture.rendered.graph.things):
            x0, y0, x1, y1 = (int(v) for v in picture.view.boxes_xyxy[index])
            center_x, center_y = picture.view.centers_xy[index]
            rows.append(
                {
                    "split": split,
                    "image_id": picture.image_id,
                    "thing": index,
                    "ann_id": ann_id(picture, index),
                    "slug": thing.slug,
                    "category": thing.category.name,
                    "group": thing.category.group,
                    "seen": thing.category.seen,
                    "style": thing.style,
                    "paint": thing.paint,
                    "color": thing.color,
                    "size_px": thing.size_px,
                    "mirror": thing.mirror,
                    "angle_deg": thing.angle_deg,
                    "x0": x0,
                    "y0": y0,
                    "x1": x1,
                    "y1": y1,
                    "center_x": center_x,
                    "center_y": center_y,
                    "area_px": int(picture.view.areas_px[index]),
                    "hidden_fraction": float(picture.view.hidden_fraction[index]),
                    "covered_by": np.flatnonzero(picture.view.covers[index]).tolist(),
                    "distractor": picture.has_distractor(index),
                    "target": index in picture.targets,
                    "background": picture.rendered.graph.background.kind,
                }  # fmt: skip
            )
    return pd.DataFrame(rows)


def expression_table(pictures: Iterable[tuple[str, Picture]]) -> pd.DataFrame:
    """One row a sentence or phrase: its kind, its meaning as JSON, and what makes it hard."""
    rows = []
    next_sentence = dict.fromkeys(SENTENCE_FAMILIES, 0)
    for split, picture in pictures:
        written = [
            (family, s, target)
            for family, target, sentences in picture.expressions
            for s in sentences
        ]
        written += [("phrasescenes", phrase, min(phrase.targets)) for phrase in picture.phrases]
        for number, (family, sentence, target) in enumerate(written):
            if family == "phrasescenes":
                first = number - (len(written) - len(picture.phrases))
                ref_id, sent_id = f"{picture.image_id}__{first}", 0
            else:
                ref_id, sent_id = str(ann_id(picture, target)), next_sentence[family]
                next_sentence[family] += 1
            thing = picture.rendered.graph.things[target]
            rows.append(
                {
                    "family": family,
                    "split": split,
                    "image_id": picture.image_id,
                    "ref_id": ref_id,
                    "sent_id": sent_id,
                    "text": sentence.text,
                    "kind": sentence.kind,
                    "has_direction": sentence.has_direction,
                    "pronoun": not sentence.query.noun,
                    "seen": thing.category.seen,
                    "distractor": picture.has_distractor(target),
                    "hidden_fraction": float(picture.view.hidden_fraction[target]),
                    "n_targets": len(sentence.targets),
                    "targets": sorted(sentence.targets),
                    "query": json.dumps(sentence.query.to_dict(), separators=(",", ":")),
                }  # fmt: skip
            )
    return pd.DataFrame(rows)
