"""The local engine: threads read and decode ahead, this one computes, another writes."""

from __future__ import annotations

import sys
import warnings
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from time import sleep
from typing import TYPE_CHECKING

from tqdm import tqdm

from tasutils.engines.work import Had, Item, Opened, Outcome, had_by, open_item

if TYPE_CHECKING:
    from tasutils.store import SceneStore
    from tasutils.store_writer import SceneWriter
    from tasutils.tas import TAS

_READERS = 2


def describe_items(
    items: Sequence[Item], tas: TAS, store: SceneStore, *, progress: bool = True
) -> Outcome:
    """Describe pictures in batches, in order; see `engines.describe_dataset`."""
    from tasutils.store_writer import SceneWriter

    had = had_by(store, tas.preset.describe_digest())
    for part in ("proposer", "encoder", "captioner", "language"):
        getattr(tas, part)  # weights that are missing are known before the work
    with (
        warnings.catch_warnings(),  # readers change the filters, each for itself
        SceneWriter(store) as writer,
        closing(_opened(items, had, tas.preset.compute.image_batch)) as pictures,
        tqdm(total=len(items), desc="describe", unit="image", disable=not progress) as bar,
    ):
        batches = _Batches(tas, writer)
        for picture in pictures:
            batches.take(picture)
            bar.update()
        batches.describe()
        batches.wait_for_others(had)
    return batches.outcome()


class _Batches:
    """Pictures gathered, described together, and handed to the writer; counts what came of each."""

    def __init__(self, tas: TAS, writer: SceneWriter) -> None:
        self.tas, self.writer = tas, writer
        self.batch: list[Opened] = []
        self.taken: set[str] = set()  # keys, so that of equal pictures one is described
        self.elsewhere: list[tuple[str, Item]] = []  # what another process describes
        self.n_had = 0
        self.failed: list[tuple[str, str]] = []
        self.n_done = 0

    def take(self, picture: Opened) -> None:
        """Count a picture, and describe the batch when it is full."""
        if picture.fault:
            tqdm.write(f"tas: {picture.fault}", sys.stderr)
            self.failed.append((picture.item.image_id, picture.fault))
        elif picture.image is None or picture.key in self.taken:
            self.n_had += 1
        elif not self.writer.claim(picture.key):
            self.taken.add(picture.key)
            self.elsewhere.append((picture.key, picture.item))
        else:
            self.taken.add(picture.key)
            self.batch.append(picture)
            if len(self.batch) == self.tas.preset.compute.image_batch:
                self.describe()

    def describe(self) -> None:
        """Describe what has been gathered, but what another process has put there meanwhile."""
        there = self.writer.store.keys() if self.batch else set()
        todo = [picture for picture in self.batch if picture.key not in there]
        self.n_had += len(self.batch) - len(todo)
        self.batch = []
        scenes = self.tas.describe_all(
            [picture.image for picture in todo], [picture.item.image_id for picture in todo]
        )
        for picture, scene in zip(todo, scenes, strict=True):
            self.writer.put(picture.key, scene, picture.source)
        self.n_done += len(todo)

    def wait_for_others(self, had: Had) -> None:
        """Wait for what other processes describe, and describe what one of them has left undone."""
        from tasutils.store_writer import LOOK_S

        if self.elsewhere:
            told = f"{len(self.elsewhere)} pictures are described by another process; waiting"
            tqdm.write(f"tas: {told}", sys.stderr)
        while self.elsewhere:
            there = self.writer.store.keys()
            missing = [(key, item) for key, item in self.elsewhere if key not in there]
            self.n_had += len(self.elsewhere) - len(missing)
            self.elsewhere = []
            for key, item in missing:
                if self.writer.claim(key):
                    self.taken.discard(key)
                    self.take(open_item(item, had))
                else:
                    self.elsewhere.append((key, item))
            self.describe()
            if self.elsewhere:
                sleep(LOOK_S)

    def outcome(self) -> Outcome:
        """What the run did."""
        return Outcome(self.n_done, self.n_had, self.failed)


def _opened(items: Sequence[Item], had: Had, most: int) -> Generator[Opened, None, None]:
    """The items opened, in order, at most so many of them ahead."""
    ahead: deque[Future[Opened]] = deque()
    with ThreadPoolExecutor(_READERS, "reader") as pool:
        try:
            for item in items:
                ahead.append(pool.submit(open_item, item, had))
                if len(ahead) > most:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
