"""Engines: describe() over all pictures of a data set, into a store that holds each scene once."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tqdm import tqdm

from tasutils.config import lookup
from tasutils.errors import TasError, refused
from tasutils.images import decode_image, require_annotated_size
from tasutils.store import SceneStore, scene_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tasutils.datasets.sample import ImageEntry, RefDataset
    from tasutils.scene import Scene
    from tasutils.tas import TAS

T = TypeVar("T")
SAID_S = 10.0  # between two lines of progress where there is no terminal
ENGINES = {"local": "tasutils.engines:describe_here", "ray": "tasutils.engines.ray:describe_by_ray"}


Item = tuple[str, "ImageEntry"]  # one picture to describe: its id, and where it lies


@dataclass(frozen=True, slots=True)
class Described:
    """What came of a picture: a scene, or a fault, or neither where the store has its scene.

    `source` is the digest of the file and of what decodes it.
    """

    image_id: str
    key: str = ""
    source: str = ""
    scene: Scene | None = None
    fault: str = ""


class Outcome(NamedTuple):
    """What a run did: scenes described, scenes that were there, and (image_id, reason) of faults.

    The three add up to the pictures that it was given.
    """

    n_done: int
    n_had: int
    failed: list[tuple[str, str]]


def describe_dataset(
    dataset: RefDataset, tas: TAS, store: SceneStore, *, engine: str = "local",
    shard: tuple[int, int] | None = None, address: str | None = None,
    limit_images: int | None = None, progress: bool = True,
) -> Outcome:  # fmt: skip
    """Put the scene of every picture of a data set into a store, but those that are there.

    A picture that cannot be read is told of on stderr and in a file beside the scenes; the run goes
    on. A run that was ended, by whatever, loses its last batch and is gone on from by the same
    call. Batches come in an order of the process's own, and each begins with a look at what is
    there, so that processes on one store share the work.

    engine: local, this process; or ray, a pool of them, on the cluster at `address` (None starts
    one on this machine); shard: (i, n): only every n-th picture from the i-th on, i from 0;
    limit_images: only the first so many, before they are sharded; progress: whether a bar on stderr
    counts pictures. Raises TasError for an unknown engine, a shard that does not exist, weights
    that are missing, or a store that cannot be written.
    """
    check_engine(engine, address)
    items = [(name, dataset.images[name]) for name in dataset.image_ids][:limit_images]
    if shard is not None:
        i, n = shard
        if not 0 <= i < n:
            raise TasError(f"no shard {i}/{n}; give i/n with i from 0 to n - 1, such as 0/2")
        items = items[i::n]
    store.require_writable()
    step = tas.preset.compute.image_batch
    batches = [items[start : start + step] for start in range(0, len(items), step)]
    Random().shuffle(batches)
    results = lookup("tasutils.engines:ENGINES", engine)(batches, tas, store, address)
    n_done, n_had, faults = 0, 0, dict[str, str]()
    with closing(results), store:
        for described in counted(results, "describe", len(items), progress, size=len):
            there = store.keys()
            for one in described:
                if one.fault:
                    tqdm.write(f"tas: {one.fault}", sys.stderr)
                    faults[one.image_id] = one.fault
                elif one.scene is None or one.key in there:
                    n_had += 1
                else:
                    store.put(one.key, one.scene, one.source)
                    n_done += 1
            store.flush()
    failed = [(name, faults[name]) for name, _ in items if name in faults]
    _record_failures(store.folder, dataset, shard, {name for name, _ in items}, failed)
    return Outcome(n_done, n_had, failed)


def counted(
    items: Iterable[T], label: str, total: int, show: bool = True,
    size: Callable[[T], int] = lambda _: 1,
) -> Iterator[T]:  # fmt: skip
    """Items, whose pictures stderr counts as they are done: a bar, or lines where no terminal is.

    total: how many pictures there are; size: how many of them an item stands for.
    """
    bar = show and sys.stderr.isatty()
    said, n = monotonic(), 0
    with tqdm(total=total, desc=label, unit="image", disable=not bar, delay=1e-3) as progress:
        for item in items:
            yield item
            n += size(item)
            progress.update(size(item))
            if show and not bar and (n == total or monotonic() - said > SAID_S):
                said = monotonic()
                print(f"{label}: {n}/{total} images", file=sys.stderr, flush=True)


def check_engine(engine: str, address: str | None) -> None:
    """Raise TasError for an engine that does not exist, or that takes no address."""
    if engine not in ENGINES:
        raise TasError(f"no engine {engine!r}; there are {' and '.join(ENGINES)}")
    if address is not None and engine != "ray":
        raise TasError(f"engine {engine} takes no address; leave it out, or choose engine ray")


def describe_batch(items: Sequence[Item], tas: TAS, store: SceneStore) -> list[Described]:
    """Describe pictures together, but those whose scenes are in the store by now."""
    digest = tas.preset.describe_digest()
    sources = store.sources(digest)
    opened = [_open(item, digest, sources) for item in items]
    seen, todo = store.keys(), list[int]()
    for index, (one, image) in enumerate(opened):
        if image is not None and one.key not in seen:
            seen.add(one.key)  # so that of equal pictures one is described
            todo.append(index)
    images, names = [opened[i][1] for i in todo], [items[i][0] for i in todo]
    described = [one for one, _ in opened]
    for index, scene in zip(todo, tas.describe_all(images, names), strict=True):
        described[index] = replace(described[index], scene=scene)
    return described


def describe_here(
    batches: Sequence[Sequence[Item]], tas: TAS, store: SceneStore, address: None = None
) -> Generator[list[Described], None, None]:
    """What came of each batch, in this process; see `describe_dataset`."""
    for part in ("proposer", "encoder", "captioner", "language"):
        getattr(tas, part)  # weights that are missing are known before the work
    for batch in batches:
        yield describe_batch(batch, tas, store)


def _open(
    item: Item, digest: str, sources: dict[str, str]
) -> tuple[Described, NDArray[np.uint8] | None]:
    """Read a picture's file; decode it only if no scene of the same file is there.

    The digest of the file's bytes tells, not its name or date, so a changed picture is seen. What
    decodes it is part of that digest: another Pillow may give other pixels, hence another key.
    """
    name, entry = item
    try:
        data = entry.path.read_bytes()
        source = hashlib.sha256(_decoder() + data).hexdigest()[:40]
        if source in sources:
            return Described(name, sources[source], source), None
        image = decode_image(io.BytesIO(data), str(entry.path))
        require_annotated_size(entry.path, image, entry.size_hw)
    except FileNotFoundError:
        fault = f"no picture at {entry.path}; check the path"
    except OSError as error:
        fault = f"cannot read {entry.path} ({error.strerror}); check the path"
    except TasError as error:
        fault = str(error)
    else:
        return Described(name, scene_key(image, digest), source), image
    return Described(name, fault=fault), None


@cache
def _decoder() -> bytes:
    from PIL import __version__, features

    return f"Pillow {__version__} {features.version('jpg')} ".encode()


def _record_failures(
    folder: Path, dataset: RefDataset, shard: tuple[int, int] | None, tried: set[str],
    failed: list[tuple[str, str]],
) -> None:  # fmt: skip
    """Write `failed-<data set>-<split>[-<i>of<n>].jsonl`, a line {image_id, reason} a picture.

    Lines about pictures that were not `tried` now stay, and without lines there is no file; a run
    that tried all pictures does away with the files of shards.
    """
    name = re.sub(r"[^\w.+-]+", "-", f"failed-{dataset.name}-{dataset.split}")
    path = folder / (f"{name}.jsonl" if shard is None else f"{name}-{shard[0]}of{shard[1]}.jsonl")
    lines: list[dict[str, str]] = []
    with suppress(OSError, ValueError, TypeError, KeyError):
        before = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in before if line["image_id"] not in tried]
    lines += [{"image_id": image_id, "reason": reason} for image_id, reason in failed]
    gone = [] if lines else [path]
    if set(dataset.image_ids) <= tried:
        sharded = re.compile(rf"{re.escape(name)}-\d+of\d+\.jsonl")
        gone += [other for other in folder.glob("failed-*") if sharded.fullmatch(other.name)]
    with refused(f"cannot write {path}", "choose another folder"):
        if lines:
            text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
            path.write_text(text, encoding="utf-8")
        for other in gone:
            other.unlink(missing_ok=True)
