"""The maps of activation methods judged alone, without any proposal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.baselines import ActivationMethod, Method
from tasutils.metrics import iou

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.datasets.sample import RefDataset
    from tasutils.tas import TAS

CUTS = tuple(round(0.1 * step, 1) for step in range(1, 10))


def map_scores(
    methods: Iterable[Method], dataset: RefDataset, tas: TAS, limit_images: int
) -> pd.DataFrame:
    """The maps of activation methods judged alone, without any proposal.

    Args:
        methods: those that are no `ActivationMethod` are left out.
        dataset: one split.
        tas: whose parser reads the sentences.
        limit_images: only the first so many images.

    Returns:
        One row a method: pointing (share of sentences whose brightest pixel lies on the target),
        miou@0.5 (of the map cut at 0.5), best_cut (the one of `CUTS` with the best mIoU on these
        very sentences) and best_miou, as fractions; n, n_images.
    """
    import pandas as pd

    from tasutils.images import read_image
    from tasutils.refer import parse_expression

    drawing = [method for method in methods if isinstance(method, ActivationMethod)]
    hits: dict[str, list[bool]] = {method.name: [] for method in drawing}
    pixels: dict[str, list[NDArray[np.int64]]] = {method.name: [] for method in drawing}
    used = list(dataset.by_image().items())[:limit_images]
    for image_id, samples in used:
        image = read_image(dataset.image_path(image_id))
        for sample in samples:
            truth = dataset.gt_mask(sample)
            expression = parse_expression(sample.text, tas.language, tas.preset)
            for method in drawing:
                heat = method.heatmap(image, expression)
                hits[method.name].append(bool(truth.flat[heat.argmax()]))
                pixels[method.name].append(_cut(heat, truth))
    rows = {}
    for name, found in pixels.items():
        both, either = np.array(found).transpose(2, 1, 0)  # each (cuts, n)
        ious = [float(iou(*pair).mean()) for pair in zip(both, either, strict=True)]
        best = int(np.argmax(ious))
        rows[name] = {
            "pointing": float(np.mean(hits[name])), "miou@0.5": ious[CUTS.index(0.5)],
            "best_cut": CUTS[best], "best_miou": ious[best],
            "n": len(found), "n_images": len(used),
        }  # fmt: skip
    return pd.DataFrame(rows).T.astype({"n": int, "n_images": int}).rename_axis("method")


def _cut(heat: NDArray[np.float32], truth: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Intersection and union with a map cut at each of `CUTS`, int64 (cuts, 2) px."""
    area, rows = int(truth.sum()), []
    for cut in CUTS:
        mask = heat > cut
        both = int((mask & truth).sum())
        rows.append((both, int(mask.sum()) + area - both))
    return np.array(rows, np.int64)
