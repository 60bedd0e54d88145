"""Scenes gathered into shards by a thread of their own, beside the work that makes them."""

from __future__ import annotations

from dataclasses import replace
from queue import Empty, Queue
from threading import Event, Thread
from time import monotonic, sleep
from types import TracebackType
from typing import TYPE_CHECKING

from tasutils.store_claims import Claims

if TYPE_CHECKING:
    from tasutils.scene import Scene
    from tasutils.store import SceneStore

FLUSH_SCENES = 256  # scenes of a shard, at most
FLUSH_S = 10.0  # a scene waits no longer to be written: what a killed process loses
LOOK_S = 0.2  # between two looks at what another process makes
_Row = tuple[str, "Scene", str]


class SceneWriter:
    """A context in which scenes are put into a store, many to a shard; leaving it writes the rest.

    Scenes that it has claimed are left to it by other processes until it is left.

    Raises:
        TasError: the store's folder cannot be written; by the next `put`, or on leaving.
    """

    def __init__(self, store: SceneStore) -> None:
        self.store = store
        self._queue: Queue[_Row | None] = Queue(FLUSH_SCENES)
        self._thread = Thread(target=self._run, name="scene writer", daemon=True)
        self._ended = Event()  # an interrupted `Thread.join` takes the thread for one that ended
        self._error: Exception | None = None
        self._claims = Claims(store.folder)

    def __enter__(self) -> SceneWriter:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._claims:
            try:
                self._end()
            except BaseException:  # a signal: what is done is written first
                self._end()
                raise
        if self._error is not None and kind is None:
            raise self._error

    def get(self, key: str) -> Scene | None:
        """A scene that is written; None if it is to be made by this process, for which it is kept.

        What another process makes now is waited for. Errors as of `claim`.
        """
        while (scene := self.store.get(key)) is None:
            if self.claim(key):
                return self.store.get(key)  # it may have been written just now
            sleep(LOOK_S)
        return scene

    def claim(self, key: str) -> bool:
        """Keep a scene for this process to make; False if another makes it, or has just made it.

        Raises:
            TasError: the store's folder cannot be written.
        """
        return self._claims.take(key)

    def put(self, key: str, scene: Scene, source: str = "") -> None:
        """Hand over a scene; `source` is the digest of the picture's file, if known."""
        if self._error is not None:
            raise self._error
        # a mask that waits here must not keep the device's memory
        self._queue.put((key, replace(scene, proposals=scene.proposals.released()), source))

    def _end(self) -> None:
        self._queue.put(None)
        self._ended.wait()

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
        self._ended.set()

    def _flush(self, rows: list[_Row]) -> None:
        if self._error is None:
            try:
                self.store.put_many(
                    [(key, scene) for key, scene, _ in rows],
                    {key: source for key, _, source in rows},
                )
            except Exception as error:  # told by the thread that puts
                self._error = error
