"""Examples of a run, answered again from its stored scenes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils import paths
from tasutils.config import Preset
from tasutils.datasets import RefDataset, Sample, load_dataset
from tasutils.datasets.sample import segmentation_mask
from tasutils.describe import describe_again
from tasutils.images import read_image
from tasutils.masks import intersection_union, iou
from tasutils.refer import refer
from tasutils.score_table import OWN
from tasutils.show import Example
from tasutils.store import SceneStore, scene_key

if TYPE_CHECKING:
    from tasutils.runs import Run
    from tasutils.scene import Scene
    from tasutils.tas import TAS


@dataclass(frozen=True)
class Gallery:
    """Examples of one run, which loads the models for the first; data: where no name finds it."""

    run: Run
    data: RefDataset | None = None

    @cached_property
    def dataset(self) -> RefDataset:
        """The data set of the run."""
        return self.data or load_dataset(self.run.family, self.run.split)

    @cached_property
    def samples(self) -> dict[str, Sample]:
        """Its samples by id."""
        return {sample.sample_id: sample for sample in self.dataset.samples}

    @cached_property
    def store(self) -> SceneStore:
        """The scenes beside the run."""
        return SceneStore(self.run.folder.parent / "scenes")

    @property
    def tas(self) -> TAS:
        """The method as the run configured it."""
        return _method(self.run.preset().model_dump_json())

    def rows(self, kind: str, count: int) -> NDArray[np.int64]:
        """Rows of the run's samples of a kind, spread over the run, one an image."""
        samples, table = self.run.samples, self.run.table
        ious, oracle = samples["iou"].to_numpy(), samples["oracle_iou"].to_numpy()
        fits = {
            "right": ious > 0.5,
            "wrong": (ious < 0.1) & (oracle > 0.5),
            "unproposed": oracle <= 0.5,
            "moved": table.choose(form="none") != table.choose(form=OWN),
        }[kind]
        _, first = np.unique(self.run.images[fits], return_index=True)
        rows = np.flatnonzero(fits)[np.sort(first)]
        places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
        return rows[places]

    def picture(self, image_id: str) -> tuple[NDArray[np.uint8], Scene]:
        """A picture of the run with its scene, which is described again if it is not stored."""
        image = read_image(self.dataset.image_path(image_id))
        scene = self.store.get(scene_key(image, self.tas.preset.describe_digest()))
        return image, self.tas.describe(image, image_id) if scene is None else scene

    @cached_property
    def _graph(self) -> dict[Path, list[tuple[str, object]]]:
        """Of each drawn picture: what a perfect captioner says of each thing, and its outline."""
        import pandas as pd

        world, graph = paths.DATA / "refscenes", dict[Path, list[tuple[str, object]]]()
        layout = json.loads((world / "refscenes" / "instances.json").read_text(encoding="utf-8"))
        outlines = {one["id"]: one["segmentation"] for one in layout["annotations"]}
        table = pd.read_parquet(world / "scenes.parquet").fillna({"color": ""})
        rows = table[["image_id", "ann_id", "color", "category"]].to_numpy()
        for picture, thing, color, category in rows:
            said = f"a {color} {category}" if color else f"a {category}"
            place = world / "images" / f"{picture}.jpg"
            graph.setdefault(place, []).append((said, outlines[thing]))
        return graph

    def things(self, image_id: str) -> tuple[list[str], NDArray[np.bool_]]:
        """All n things of a drawn picture: what a perfect captioner says of each, and its mask.

        Masks: bool (n, H, W); of a picture that is not of the drawn world n is 0.
        """
        size_hw = self.dataset.size_hw(image_id)
        known = self._graph.get(self.dataset.image_path(image_id), [])
        masks = [segmentation_mask(outline, size_hw, image_id) for _, outline in known]
        return [said for said, _ in known], np.array(masks, bool).reshape(-1, *size_hw)

    def told(self, image_id: str, scene: Scene) -> Scene:
        """A scene of a drawn picture with captions as by a perfect captioner.

        A mask is called as the thing with which it has an IoU above 0.5, "" where there is none;
        the picture as all its things.
        """
        said, truths = self.things(image_id)
        pixels = [intersection_union(scene.proposals.masks(), truth) for truth in truths]
        ious = np.array([inter / union for inter, union in pixels]).T  # (n, things)
        captions = [said[row.argmax()] if row.max() > 0.5 else "" for row in ious]
        scene = replace(scene, captions_raw=captions, image_caption_raw=" and ".join(said))
        image, tas = read_image(self.dataset.image_path(image_id)), self.tas
        parts: Any = {"encoder": tas.encoder, "language": tas.language, "preset": tas.preset}
        return describe_again(scene, image, **parts, read_only=True)

    def example(
        self, row: int, weights: Mapping[str, float] | None = None, form: str = ""
    ) -> Example:
        """The sentence at a row of the samples, answered again, with weights and form in place."""
        sample = self.samples[self.run.samples["sample_id"].iloc[row]]
        image, scene = self.picture(sample.image_id)
        tas, truth = self.tas, self.dataset.gt_mask(sample)
        preset = tas.preset.override({"rectifier.form": form}) if form else tas.preset
        asked = (scene, sample.text, tas.encoder, tas.language, preset, self.run.family)
        answer = refer(*asked, weights)
        place = f"{self.run.family} {self.run.split}, IoU {iou(answer.mask(), truth):.2f}"
        return Example(image, answer, truth, f"{place}: {answer.reason}")


@cache
def _method(config: str) -> TAS:
    """Networks are loaded once for runs of one preset."""
    from tasutils.tas import load

    return load(Preset.model_validate_json(config))
