"""Section store: scenes of 40 masks and 512 dimensions written and read, against a file each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from tasutils.bench.child import run_child
from tasutils.bench.equal import Unequal, all_of, equal_words, near
from tasutils.bench.plan import Plan, noise_and_blobs
from tasutils.bench.rows import Row, Target
from tasutils.bench.timing import alternate
from tasutils.scene import Proposals, Scene
from tasutils.store import SceneStore

MASKS, DIM, PHRASES = 40, 512, 6
KINDS = 16  # sets of masks, as many as a row group has scenes: none is packed as a double
PLAIN_SCENES = 100  # what one timing writes or reads
MOST_BYTES, LEAST_READ, MOST_GROWTH = 250_000, 500.0, 1.1
_ARRAYS = ("boxes_xyxy", "centers_xy", "areas_px", "predicted_iou", "stability")
_EMBEDDINGS = ("crop_embeddings", "caption_embeddings", "phrase_embeddings")


def rows(plan: Plan) -> list[Row]:
    """Writing, reading, bytes by column, and the memory of reading 1,000 and 10,000 scenes."""
    count = plan.count(1_000)
    scenes = list(random_scenes(min(count, PLAIN_SCENES)))
    found = [_written(plan, scenes), _read(plan, scenes)]
    with TemporaryDirectory() as folder:
        memory = {}
        for size in (count, 10 * count):
            fill(SceneStore(folder), size)
            memory[size] = run_child(f"{__name__}:read_store", plan.environment(), folder=folder)
            if size == count:
                found.append(_bytes(folder, count))
    found.append(_memory(memory))
    return found


def _written(plan: Plan, scenes: list[Scene]) -> Row:
    """Each call writes into a folder of its own."""
    keyed = [(scene.image_id, scene) for scene in scenes]
    with TemporaryDirectory() as folder:
        numbers = iter(range(10**6))

        def ours() -> Path:
            place = Path(folder) / f"ours{next(numbers)}"
            put_all(SceneStore(place), keyed)
            return place

        def plain() -> Path:
            place = Path(folder) / f"plain{next(numbers)}"
            write_files(place, scenes)
            return place

        def same(a: Path, b: Path) -> str:
            return same_scenes([s for _, s in SceneStore(a).scenes()], list(read_files(b)))

        timed = alternate(ours, plain, same, plan.repeats, len(scenes))
    return Row(section="store", what=f"write {len(scenes)} scenes", per="scene", **timed.fields())


def _read(plan: Plan, scenes: list[Scene]) -> Row:
    with TemporaryDirectory() as folder:
        put_all(SceneStore(Path(folder) / "ours"), [(s.image_id, s) for s in scenes])
        write_files(Path(folder) / "plain", scenes)
        timed = alternate(
            lambda: [scene for _, scene in SceneStore(Path(folder) / "ours").scenes()],
            lambda: list(read_files(Path(folder) / "plain")),
            same_scenes,
            plan.repeats,
            len(scenes),
        )
    return Row(
        section="store",
        what=f"read {len(scenes)} scenes",
        per="scene",
        measures={"scenes_per_s": 1 / timed.ours_s.median},
        target=Target(number="scenes_per_s", at_least=LEAST_READ),
        note="store: the plain way is a numpy archive and a JSON file for each scene",
        **timed.fields(),
    )


def _bytes(folder: str, count: int) -> Row:
    columns = {name: size / count for name, size in _column_sizes(Path(folder)).items()}
    shown = {name: size for name, size in columns.items() if size >= 100}
    shown["other columns"] = sum(columns.values()) - sum(shown.values())
    return Row(
        section="store",
        what=f"bytes a scene, {MASKS} masks, {DIM} dimensions",
        measures={"bytes_a_scene": sum(columns.values())} | shown,
        target=Target(number="bytes_a_scene", at_most=MOST_BYTES),
    )


def _column_sizes(folder: Path) -> Counter[str]:
    """Bytes of each column of a store's files, and as "footer" of all that is none of them."""
    import pyarrow.parquet as pq

    total: Counter[str] = Counter()
    for path in folder.glob("*.parquet"):
        meta = pq.read_metadata(path)
        groups = [meta.row_group(index) for index in range(meta.num_row_groups)]
        for chunk in (g.column(index) for g in groups for index in range(g.num_columns)):
            total[chunk.path_in_schema.split(".")[0]] += chunk.total_compressed_size
        total["footer"] += path.stat().st_size - sum(g.total_compressed_size for g in groups)
    return total


def _memory(found: dict[int, dict[str, Any]]) -> Row:
    (few, small), (many, large) = found.items()
    measures = {f"peak_MiB_{n}": one["peak_mib"] for n, one in found.items()}
    measures |= {f"scenes_per_s_{n}": n / one["seconds"] for n, one in found.items()}
    return Row(
        section="store",
        what=f"read {few:,} and {many:,} scenes",
        measures=measures | {"peak_growth": large["peak_mib"] / small["peak_mib"]},
        target=Target(number="peak_growth", at_most=MOST_GROWTH),
    )


def read_store(folder: str) -> dict[str, Any]:
    """Read all scenes of a store, one after another, keeping none; a child's task."""
    start, n_masks = perf_counter(), 0
    for _, scene in SceneStore(folder).scenes():
        n_masks += len(scene.proposals)
    return {"seconds": perf_counter() - start, "masks": n_masks}


def fill(store: SceneStore, size: int) -> None:
    """Put random scenes into a store until it has `size`."""
    there = store.keys()
    scenes = random_scenes(size)
    put_all(store, ((s.image_id, s) for s in scenes if s.image_id not in there))


def put_all(store: SceneStore, keyed: Iterable[tuple[str, Scene]]) -> None:
    """Put scenes by key into a store."""
    with store:
        for key, scene in keyed:
            store.put(key, scene)


def random_scenes(size: int) -> Iterator[Scene]:
    """Scenes 0 to size - 1 of 640 x 480 px, masks of sixteen kinds, each with its own words."""
    nouns = ["dog", "bus", "kite", "chair", "woman", "umbrella", "red car", "pizza", "laptop"]
    places = ["on a table", "in the grass", "beside a man", "near a wall", "on the street"]
    for index in range(size):
        rng = np.random.default_rng(index)
        said = [
            f"a {nouns[i]} {places[j]}" for i, j in rng.integers((9, 5), size=(MASKS + PHRASES, 2))
        ]
        scale = DIM**-0.5
        crops, captions, phrases = (
            (rng.standard_normal((n, DIM)) * scale).astype(np.float16).astype(np.float32)
            for n in (MASKS, MASKS, PHRASES)
        )
        yield Scene(
            image_id=f"scene{index:06d}",
            size_hw=(480, 640),
            proposals=_proposals(index % KINDS),
            views={"crop": crops},
            captions=said[:MASKS],
            captions_raw=said[:MASKS],
            caption_embeddings=captions,
            image_caption=said[0],
            image_caption_raw=said[0],
            phrases=said[MASKS:],
            phrase_embeddings=phrases,
            times_s={"proposals": 0.1},
            describe_digest="0" * 64,
        )


@cache
def _proposals(seed: int) -> Proposals:
    return Proposals.from_masks(noise_and_blobs(MASKS, seed=seed)[1])


def write_files(folder: Path, scenes: list[Scene]) -> None:
    """A compressed numpy archive and a JSON file for each scene."""
    folder.mkdir(parents=True)
    for scene in scenes:
        arrays = {name: getattr(scene.proposals, name) for name in _ARRAYS}
        arrays |= {name: getattr(scene, name).astype(np.float16) for name in _EMBEDDINGS}
        np.savez_compressed(folder / f"{scene.image_id}.npz", **arrays)
        rest = {name: value for name, value in vars(scene).items() if name not in _EMBEDDINGS}
        rest["proposals"] = scene.proposals.rles
        (folder / f"{scene.image_id}.json").write_text(json.dumps(rest), encoding="utf-8")


def read_files(folder: Path) -> Iterator[Scene]:
    """The scenes of `write_files`, in the order of their names."""
    for path in sorted(folder.glob("*.json")):
        rest = json.loads(path.read_text(encoding="utf-8"))
        with np.load(path.with_suffix(".npz")) as arrays:
            rest |= {name: arrays[name].astype(np.float32) for name in _EMBEDDINGS}
            numbers = {name: arrays[name] for name in _ARRAYS}
        rest["size_hw"] = tuple(rest["size_hw"])
        proposals = Proposals(rles=rest["proposals"], size_hw=rest["size_hw"], **numbers)
        yield Scene(**(rest | {"proposals": proposals}))


def same_scenes(ours: list[Scene], plain: list[Scene]) -> str:
    """Every field of every scene, whatever the order."""
    words = []
    ours = sorted(ours, key=lambda scene: scene.image_id)
    if len(ours) != len(plain):
        raise Unequal(f"there are {len(ours)} and {len(plain)} scenes")
    for a, b in zip(ours, plain, strict=True):
        words.append(equal_words(_texts(a), _texts(b), "texts"))
        words.append(equal_words(_codes(a), _codes(b), "masks"))
        words += [near(getattr(a, name), getattr(b, name), 0, "embeddings") for name in _EMBEDDINGS]
        for name in _ARRAYS:
            words.append(near(getattr(a.proposals, name), getattr(b.proposals, name), 0, "boxes"))
    return all_of(*words)


def _texts(scene: Scene) -> list[str]:
    return [scene.image_id, scene.image_caption, *scene.captions, *scene.phrases]


def _codes(scene: Scene) -> list[str]:
    return [rle["counts"] for rle in scene.proposals.rles]
