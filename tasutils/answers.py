"""Answers as files and as lines of text: the output side of `tas segment`.

Each sentence gets a folder of its own, `01-the-red-car-on-the-left`, with overlay.png, mask.png
(0 or 255) and answer.json. All folders appear at once when everything has succeeded, or none does.
"""

from __future__ import annotations

import errno
import json
import os
import re
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tasutils.errors import TasError, one_line
from tasutils.paths import unfinished_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np

    from tasutils.config import Preset
    from tasutils.refer import TasAnswer
    from tasutils.scene import Scene

SCHEMA = 1
FILES = frozenset({"overlay.png", "mask.png", "answer.json"})
SLUG_LENGTH = 48
ROWS_SHOWN = 5


def read_sentences(given: Iterable[str], file: Path | None = None) -> list[str]:
    """Return the sentences of the command line, then those of a UTF-8 file, one a line.

    Blank lines of the file are skipped; a blank sentence of the command line is a mistake.

    Raises:
        TasError: a blank sentence, no sentence at all, or a file that is no readable text.
    """
    sentences = list(given)
    for number, text in enumerate(sentences, start=1):
        if not text.strip():
            raise TasError(f"sentence {number} is blank; say in words what to find")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise TasError(f"sentence {number} is no valid text; write it in UTF-8")
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise TasError(f"{file} is not UTF-8 text; save it as UTF-8") from error
        except OSError as error:
            raise TasError(f"cannot read {file}: {error.strerror}; name a text file") from error
        sentences += [line.strip() for line in lines if line.strip()]
    if not sentences:
        raise TasError('no sentence; write one, as in: tas segment picture.jpg "the red car"')
    return sentences


def slug(number: int, sentence: str) -> str:
    """Return a folder name that every file system takes.

    >>> slug(1, "The red car, on the left!")
    '01-the-red-car-on-the-left'
    >>> slug(2, "赤い車")
    '02'
    """
    plain = unicodedata.normalize("NFKD", sentence).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:SLUG_LENGTH].strip("-")
    return f"{number:02d}-{words}" if words else f"{number:02d}"


class AnswerFolder:
    """The folder of one call of `tas segment`: proves that it can be written before any work.

    As a context manager it stages the answers in a hidden folder beside their places; `keep` moves
    them there. Leaving without `keep` removes all that was made, new parent folders included.

    Raises:
        TasError: the folder cannot be written, or a place is taken by something else.
    """

    def __init__(self, folder: Path, sentences: Sequence[str]) -> None:
        self.folder = folder
        self._names = [slug(i, text) for i, text in enumerate(sentences, start=1)]
        self._written = 0

    def __enter__(self) -> Self:
        parents = [self.folder, *self.folder.parents]
        self._made = [parent for parent in parents if not parent.exists()]
        try:
            self._staging = unfinished_folder(self.folder)
            self._stage = self._staging.__enter__()
        except OSError as error:
            self._remove_empty()
            raise TasError(
                f"cannot write in {self.folder}: {error.strerror}; choose a folder with --out"
            ) from error
        for name in self._names:
            place = self.folder / name
            if not _may_be_written(place):
                self.__exit__()
                raise TasError(f"{place} holds other things; choose a folder with --out")
        return self

    def write(self, image: np.ndarray, answer: TasAnswer, preset: Preset, source: Path) -> Path:
        """Stage the next answer and return the folder where it will lie.

        Args:
            image: uint8 (H, W, 3), the picture.
            answer: what `refer` returned for the next sentence.
            preset: the configuration that answered.
            source: where the picture came from, as the user wrote it.
        """
        from PIL import Image

        from tasutils.show import save_overlay

        name = self._names[self._written]
        stage = self._stage / name
        stage.mkdir()
        save_overlay(stage / "overlay.png", image, answer)
        Image.fromarray(answer.mask().astype("uint8") * 255).save(stage / "mask.png")
        text = json.dumps(record(answer, preset, source), indent=1, allow_nan=False)
        (stage / "answer.json").write_text(text + "\n", encoding="utf-8")
        self._written += 1
        return self.folder / name

    def keep(self) -> None:
        """Move the staged answers to their places, over the answers of an earlier call."""
        for name in self._names[: self._written]:
            place, count = self.folder / name, 0
            while True:
                with suppress(FileNotFoundError):  # none, or another process has just moved it
                    place.rename(self._stage / f"old-{count}-{name}")
                try:
                    (self._stage / name).rename(place)
                    break
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                    count += 1  # another process has just put its own there

    def __exit__(self, *_: object) -> None:
        self._staging.__exit__(None, None, None)
        self._remove_empty()

    def _remove_empty(self) -> None:
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:  # it holds answers, or was never made
                return


def _may_be_written(place: Path) -> bool:
    """Whether nothing is there, or an answer."""
    try:
        return not place.is_symlink() and set(os.listdir(place)) <= FILES
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        return False


def record(answer: TasAnswer, preset: Preset, source: Path) -> dict[str, Any]:
    """Return the answer as plain values for JSON: sizes (H, W), boxes x0, y0, x1, y1, areas px."""
    scene, proposals = answer.scene, answer.scene.proposals
    table = answer.table()
    rows = [
        {
            "mask": index,
            **{name: _plain(row[name]) for name in table.columns},
            "box_xyxy": proposals.boxes_xyxy[index].tolist(),
            "center_xy": proposals.centers_xy[index].tolist(),
        }
        for index, (_, row) in enumerate(table.iterrows())
    ]
    return {
        "schema": SCHEMA,
        "image": str(source),
        "size_hw": list(scene.size_hw),
        "sentence": answer.expression.text,
        "phrase": answer.expression.phrase,
        "directions": [direction.name for direction in answer.expression.directions],
        "chosen": None if answer.best is None else int(answer.best),
        "rectified": bool(answer.rectified),
        "reason": answer.reason,
        "alpha": answer.alpha,
        "lambda": answer.lam,
        "negatives": list(answer.negatives),
        "image_caption": scene.image_caption,
        "proposals": rows,
        "preset": preset.name,
        "preset_digest": preset.digest(),
        "describe_digest": scene.describe_digest,
        "times_s": dict(scene.times_s),
    }


def _plain(value: Any) -> Any:
    """A cell as JSON has it: no numpy, and None for NaN (`strict_official`)."""
    plain = value.item() if hasattr(value, "item") else value
    return None if plain != plain else plain


def scene_line(source: Path, scene: Scene) -> str:
    """Return what `tas segment` says about the picture."""
    height, width = scene.size_hw
    return (
        f"{one_line(source.name)}: {width} x {height} px, {len(scene.proposals)} masks, "
        f"{sum(scene.times_s.values()):.1f} s\n  {one_line(scene.image_caption) or '(no caption)'}"
    )


def answer_lines(answer: TasAnswer, place: Path) -> str:
    """Return one answer as text: its best masks, why the first of them won, where its files are."""
    table = answer.table().sort_values("rank").head(ROWS_SHOWN)
    lines = [f"\n{one_line(answer.expression.text)}"]
    if len(table):
        lines.append("     mask   total       v       p       n  region  caption")
    for index, row in table.iterrows():
        mark = ">" if index == answer.best else " "
        numbers = " ".join(f"{row[name]:7.3f}" for name in ("total", "v", "p", "n"))
        region = "in" if row["in_region"] else "out"
        lines.append(f"   {mark} {index:4} {numbers}  {region:6}  {one_line(row['caption'])}")
    lines.append(f"  why: {one_line(answer.reason)}")
    lines.append(f"  negatives: {one_line(', '.join(answer.negatives)) or 'none'}")
    lines.append(f"  {place}")
    return "\n".join(lines)
