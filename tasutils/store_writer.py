"""Scenes gathered into shards by a thread of their own, beside the work that makes them."""

from __future__ import annotations

from dataclasses import replace
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasutils.scene import Scene
    from tasutils.store import SceneStore

FLUSH_SCENES = 256  # scenes of a shard, at most
FLUSH_S = 10.0  # a scene waits no longer to be written: what a killed process loses
_Row = tuple[str, "Scene", str]


class SceneWriter:
    """A context in which scenes are put into a store, many to a shard; leaving it writes the rest.

    Raises:
        TasError: the store's folder cannot be written; by the next `put`, or on leaving.
    """

    def __init__(self, store: SceneStore) -> None:
        self.store = store
        self._queue: Queue[_Row | None] = Queue(FLUSH_SCENES)
        self._thread = Thread(target=self._run, name="scene writer", daemon=True)
        self._error: Exception | None = None

    def __enter__(self) -> SceneWriter:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def get(self, key: str) -> Scene | None:
        """A scene that is written, see `SceneStore.get`."""
        return self.store.get(key)

    def put(self, key: str, scene: Scene, source: str = "") -> None:
        """Hand over a scene; `source` is the digest of the picture's file, if known."""
        if self._error is not None:
            raise self._error
        # a mask that waits here must not keep the device's memory
        self._queue.put((key, replace(scene, proposals=scene.proposals.released()), source))

    def _run(self) -> None:
        rows: list[_Row] = []
        due, open_ = 0.0, True
        while open_:
            try:
                row = self._queue.get(timeout=max(due - monotonic(), 0.0) if rows else None)
                open_ = row is not None
                if row is not None:
                    due = due if rows else monotonic() + FLUSH_S
                    rows.append(row)
            except Empty:
                pass
            if rows and (not open_ or len(rows) >= FLUSH_SCENES or monotonic() >= due):
                self._flush(rows)
                rows = []

    def _flush(self, rows: list[_Row]) -> None:
        if self._error is None:
            try:
                self.store.put_many(
                    [(key, scene) for key, scene, _ in rows],
                    {key: source for key, _, source in rows},
                )
            except Exception as error:  # told by the thread that puts
                self._error = error
