"""The two stages of the engine ray, tables of Arrow in and out: read and decode, and describe."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.engines.work import Had, Item, Opened, open_item
from tasutils.errors import TasError

if TYPE_CHECKING:
    import pyarrow as pa
    import ray

    from tasutils.scene import Scene
    from tasutils.tas import TAS


MINE, ELSEWHERE, THERE = "mine", "elsewhere", "there"


def items_table(items: Sequence[Item]) -> list[dict[str, Any]]:
    """The rows of what is to be read."""
    return [
        {"image_id": i.image_id, "path": str(i.path), "size_hw": list(i.size_hw or ())}
        for i in items
    ]


def read(table: pa.Table, had: ray.ObjectRef[Had]) -> pa.Table:
    """Open the items of a table, see `work.open_item`; a picture is its bytes and its (H, W)."""
    import pyarrow as pa

    opened = [
        open_item(
            Item(row["image_id"], Path(row["path"]), tuple(row["size_hw"]) or None), _fetched(had)
        )
        for row in table.to_pylist()
    ]
    return pa.table(
        {
            "image_id": [one.item.image_id for one in opened],
            "key": [one.key for one in opened],
            "source": [one.source for one in opened],
            "fault": [one.fault for one in opened],
            "size_hw": pa.array([_size(one) for one in opened], pa.list_(pa.int32(), 2)),
            "pixels": pa.array([_pixels(one) for one in opened], pa.large_binary()),
        }
    )


class Claimer:
    """An actor beside the driver: claims scenes of its store for the workers, see `store_claims`.

    Workers need not reach the store, and one that is started again has what it had.
    """

    def __init__(self, folder: Path) -> None:
        from tasutils.store import SceneStore
        from tasutils.store_claims import Claims

        self.store, self.claims = SceneStore(folder), Claims(folder)

    def take(self, keys: list[str]) -> list[str]:
        """For each key MINE, to be made for this run; ELSEWHERE, by another process; or THERE."""
        try:
            mine = [self.claims.take(key) for key in keys]
        except TasError:  # the driver, which writes there, will say so
            mine = [True] * len(keys)
        there = self.store.keys()
        return [
            THERE if key in there else MINE if taken else ELSEWHERE
            for key, taken in zip(keys, mine, strict=True)
        ]

    def close(self) -> None:
        """Free what is claimed."""
        self.claims.__exit__(None, None, None)


class Describer:
    """A process of the pool: loads a preset once, on the first picture that it gets.

    Args:
        claimer: says which scenes are to be made here, see `Claimer`.
        tas: the preset with nothing built of it, `TAS.unbuilt`.
        threads: of this process.
        describe_digest: what the preset's must be here too.
        warm_up: a picture to describe before all else, None for none.
    """

    def __init__(
        self,
        claimer: Any,
        tas: TAS,
        threads: int,
        describe_digest: str,
        warm_up: Path | None = None,
    ) -> None:
        import torch

        torch.set_num_threads(threads)
        self.claimer, self.tas, self.describe_digest = claimer, tas, describe_digest
        if warm_up is not None:
            tas.describe(warm_up)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Scenes of the pictures of a table as `scene_table` rows; rows without a picture stay.

        Of these only image_id, key, source, fault and fate, see `Claimer.take`, are set. Beside the
        scenes stand the times when work on them began and ended, in seconds since the epoch. A
        TasError becomes a row of its own, its message in column mistake, for Ray would give it back
        as some other exception.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        began_s = time()
        table = table.append_column("fate", pa.array(self._fates(table), pa.string()))
        to_make = pc.equal(table["fate"], MINE)
        others = table.filter(pc.invert(to_make)).drop_columns(["size_hw", "pixels"])
        mistake: list[str] = []
        try:
            rows = self._rows(table.filter(to_make))
        except TasError as error:
            rows, mistake = self._rows(table[:0]), [str(error)]
        for name, moment in {"began_s": began_s, "ended_s": time()}.items():
            rows = rows.append_column(name, pa.array([moment] * len(rows), pa.float64()))
        mistakes = pa.table({"mistake": pa.array(mistake, pa.string())})
        return pa.concat_tables([rows, others, mistakes], promote_options="default")

    def _fates(self, table: pa.Table) -> list[str]:
        """What `Claimer.take` says of each picture, THERE for rows without one."""
        import ray

        is_picture = table["pixels"].is_valid()
        keys = table["key"].filter(is_picture).to_pylist()
        fates = iter(ray.get(self.claimer.take.remote(keys)) if keys else ())
        return [next(fates) if picture else THERE for picture in is_picture.to_pylist()]

    def _rows(self, pictures: pa.Table) -> pa.Table:
        from tasutils.store_rows import scene_table

        keys = pictures["key"].to_pylist()
        sources = dict(zip(keys, pictures["source"].to_pylist(), strict=True))
        scenes = self._scenes(pictures) if keys else []
        return scene_table(zip(keys, scenes, strict=True), sources)

    def _scenes(self, pictures: pa.Table) -> list[Scene]:
        if self.tas.preset.describe_digest() != self.describe_digest:
            raise TasError(
                f"{platform.node()}: its weights of preset {self.tas.preset.name}, or its tasutils,"
                " are not those of the machine that started the run; install the same"
            )
        images = [
            # a copy, for what comes from Ray may not be written to
            np.frombuffer(pixels.as_buffer(), np.uint8).reshape(*size_hw, 3).copy()
            for pixels, size_hw in zip(
                pictures["pixels"], pictures["size_hw"].to_pylist(), strict=True
            )
        ]
        return self.tas.describe_all(images, pictures["image_id"].to_pylist())


@lru_cache(maxsize=1)
def _fetched(had: ray.ObjectRef[Had]) -> Had:
    """What the store has, fetched once by each process that reads."""
    import ray

    found: Had = ray.get(had)
    return found


def _size(opened: Opened) -> tuple[int, ...] | None:
    return None if opened.image is None else opened.image.shape[:2]


def _pixels(opened: Opened) -> NDArray[np.uint8] | bytes | None:
    return None if opened.image is None else opened.image.tobytes()
