"""Examples of a run, answered again from its stored scenes: right, wrong, moved."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.show import Example

if TYPE_CHECKING:
    from tasutils.datasets import RefDataset, Sample
    from tasutils.loading import TAS
    from tasutils.study import Part

KINDS = {
    "right": "IoU above 0.5",
    "wrong": "IoU under 0.1, though a mask above 0.5 was proposed",
    "unproposed": "no mask above IoU 0.5 was proposed",
    "moved": "the rectifier decided: without it another mask had won",
}


@dataclass(frozen=True)
class Gallery:
    """Examples of one run; the models are loaded when the first one is drawn."""

    part: Part

    @cached_property
    def dataset(self) -> RefDataset:
        """The data set of the run."""
        from tasutils.datasets import load_dataset

        return load_dataset(self.part.family, self.part.split)

    @cached_property
    def samples(self) -> dict[str, Sample]:
        """Its samples by id."""
        return {sample.sample_id: sample for sample in self.dataset.samples}

    @property
    def tas(self) -> TAS:
        """The method as the run configured it."""
        return _method(json.dumps(self.part.run.record.config, sort_keys=True))

    def rows(self, kind: str, count: int) -> NDArray[np.int64]:
        """Rows of the run's samples of one of `KINDS`, spread over the run, one an image."""
        samples = self.part.samples
        iou, oracle = samples["iou"].to_numpy(), samples["oracle_iou"].to_numpy()
        record, scores = self.part.run.record, self.part.scores
        before, after = (scores.choose(record.alpha, record.lam, on) for on in (False, True))
        fits = {
            "right": iou > 0.5,
            "wrong": (iou < 0.1) & (oracle > 0.5),
            "unproposed": oracle <= 0.5,
            "moved": before != after,
        }[kind]
        _, first = np.unique(self.part.images[fits], return_index=True)
        rows = np.flatnonzero(fits)[np.sort(first)]
        places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
        return rows[places]

    def examples(self, kind: str, count: int) -> list[Example]:
        """Examples of one of `KINDS` with picture, answer, ground truth and a remark."""
        return [self.example(int(row)) for row in self.rows(kind, count)]

    def example(self, row: int) -> Example:
        """The sentence at a row of the run's samples, answered again."""
        from tasutils.images import read_image
        from tasutils.store import SceneStore, scene_key

        record = self.part.samples.iloc[row]
        sample = self.samples[record["sample_id"]]
        image = read_image(self.dataset.image_path(sample.image_id))
        store = SceneStore(self.part.run.folder.parent / "scenes")
        scene = store.get(scene_key(image, self.tas.preset.describe_digest()))
        scene = self.tas.describe(image, sample.image_id) if scene is None else scene
        answer = self.tas.refer(scene, sample.text, dataset=self.part.family)
        place = f"{self.part.family} {self.part.split}, IoU {record['iou']:.2f}"
        return Example(image, answer, self.dataset.gt_mask(sample), f"{place}: {answer.reason}")


@cache
def _method(config: str) -> TAS:
    from tasutils.config import Preset
    from tasutils.loading import load

    return load(Preset.model_validate_json(config))
