"""What a report is about: preset, data sets and splits, and the notebooks that take part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasutils import paths
from tasutils.errors import TasError

if TYPE_CHECKING:
    from tasutils.config import Preset
    from tasutils.datasets import RefDataset

DRAWN_PICTURE = {"data": "refscenes val", "number": 5, "sentence": "the dog on the right"}


@dataclass(frozen=True)
class Subject:
    """What a report is about.

    preset: the configuration; place: its name, or the path of its file, for notebooks.
    data: the splits that are evaluated, those of one name one after the other.
    chief: the data set and split that notebooks look at, such as "refscenes val".
    limit: only the first so many images of each split, but of photos7 beside RefScenes; or None.
    """

    preset: Preset
    place: str
    data: tuple[RefDataset, ...]
    chief: str
    limit: int | None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the data sets, each once."""
        return tuple(dict.fromkeys(data.name for data in self.data))

    @property
    def world(self) -> bool:
        """Whether RefScenes is among them."""
        from tasutils.datasets.refscenes import FAMILIES

        return any(name in FAMILIES for name in self.names)


@dataclass(frozen=True)
class Entry:
    """A notebook of the report: its name, its title, and its parameters or why it is left out."""

    name: str
    title: str
    parameters: dict[str, Any] = field(default_factory=dict)
    left_out: str = ""


def make_subject(
    families: Sequence[str],
    splits: Sequence[str] | None,
    preset: str | Path | None,
    limit: int | None,
) -> Subject:
    """Read preset and data of a report, so that a mistake is known before any work.

    Args:
        families: names of data sets; all families of RefScenes bring photos7 with them, where the
            preset is one for photographs.
        splits: of each; None: all they have, or with a limit the first (valP for photographs).
        preset: name or YAML file; None: the one that fits the data.
        limit: of images, for each split.

    Raises:
        TasError: no such preset, data set or split, or sentences without ground truth.
    """
    from tasutils.config import load_preset
    from tasutils.datasets import default_preset, load_dataset
    from tasutils.datasets.own import NAME as OWN
    from tasutils.datasets.photos7 import NAME as PHOTOS7
    from tasutils.datasets.refscenes import FAMILIES

    if OWN in families:
        raise TasError("there is no report on own data; `tas evaluate own FILE` writes its run")
    if preset is None:
        preset = default_preset(families[0], splits[0] if splits else "")
    chosen = load_preset(preset)
    whole = _splits(families[0], chosen)
    wanted = list(splits or (whole if limit is None else whole[:1]))
    data = [load_dataset(name, split) for split in wanted for name in families]
    if chosen.photographs and set(families) == set(FAMILIES):
        data.insert(0, load_dataset(PHOTOS7, "all"))
    for one in data:
        if one.without_mask:
            raise TasError(
                f"{one.name} {one.split}: {len(one.without_mask)} of {len(one)} sentences have no "
                "ground truth, so there is nothing to report on; `tas evaluate` answers them"
            )
    place = str(Path(preset).resolve() if Path(preset).suffix else preset)
    return Subject(chosen, place, tuple(data), f"{families[0]} {wanted[0]}", limit)


def _splits(name: str, preset: Preset) -> Sequence[str]:
    """All splits of a data set that suit a preset."""
    from tasutils.datasets.published import published
    from tasutils.datasets.refscenes import FAMILIES, PHOTO_SPLITS, SPLITS

    if name in FAMILIES:
        return PHOTO_SPLITS if preset.photographs else SPLITS
    if name in published():
        entry = published()[name]
        return tuple(entry.splits[entry.split_by])
    return ("all",)  # photos7


def numbered() -> dict[str, Path]:
    """The numbered notebooks that there are, by number, in order; appendices are not among them."""
    found = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    return {path.name[:2]: path for path in found}


def choose(only: str) -> list[str]:
    """The numbers of `--only`, such as "01,05", in order; all for an empty text.

    Raises:
        TasError: a number without a notebook.
    """
    known = list(numbered())
    wanted = [number.strip() for number in only.split(",") if number.strip()]
    for number in wanted:
        if number.zfill(2) not in known:
            raise TasError(f"no notebook {number!r} for --only; there are {', '.join(known)}")
    return [n for n in known if not wanted or n in {number.zfill(2) for number in wanted}]


def plan(
    subject: Subject, chosen: Sequence[str], runs: Sequence[str], results: Path
) -> list[Entry]:
    """Each numbered notebook with its parameters, or why it is left out.

    A notebook gets preset, data, limit and results, as far as it has these parameters; besides
    these `runs`, the report's own, and the picture that the quickstart shows. Its limit is the
    smaller of the report's and its own, or without a limit the whole split: where more pictures
    have been answered by a run, a notebook takes that run.
    """
    entries = []
    for number, path in numbered().items():
        title = title_of(path)
        reason = _unfit(number, subject) if number in chosen else "--only does not name it"
        parameters = {} if reason else _parameters(path, subject, runs, results)
        entries.append(Entry(path.stem, title, parameters, reason))
    return entries


def title_of(path: Path) -> str:
    """The first heading of a notebook, or its name."""
    import nbformat

    for cell in nbformat.read(path, as_version=4).cells:
        heading = re.search(r"^# +(.+)$", cell.source, flags=re.M)
        if cell.cell_type == "markdown" and heading:
            return heading.group(1).strip()
    return path.stem


def _unfit(number: str, subject: Subject) -> str:
    """Why a notebook makes no sense for a preset; empty where it does."""
    clip = subject.preset.encoder.kind == "openclip" and subject.preset.peer_encoder is not None
    if number == "07" and not clip:
        return (
            "its methods look inside CLIP's two towers (encoder and peer_encoder), which preset "
            f"{subject.preset.name} has not"
        )
    return ""


def _parameters(path: Path, subject: Subject, runs: Sequence[str], results: Path) -> dict[str, Any]:
    from tasutils.execute import notebook_parameters

    known = notebook_parameters(path)
    given = {"preset": subject.place, "data": subject.chief, "runs": ",".join(runs)}
    if results != paths.RESULTS:
        given["results"] = str(results)
    if {"data", "number", "sentence"} <= set(known):
        _ask(given, subject)
    chosen: dict[str, Any] = {name: value for name, value in given.items() if name in known}
    if "limit" in known:
        name, split = subject.chief.split(" ", 1)
        data = next(d for d in subject.data if (d.name, d.split) == (name, split))
        own = known["limit"] or len(data.image_ids)
        chosen["limit"] = min(own, subject.limit) if subject.limit else len(data.image_ids)
    return chosen


def _ask(given: dict[str, Any], subject: Subject) -> None:
    """Give the quickstart a picture and a sentence; beside photos7 it keeps its own, of that."""
    first = subject.data[0]
    if first.name == "photos7":
        del given["data"]
    elif subject.chief == DRAWN_PICTURE["data"]:
        given |= DRAWN_PICTURE
    else:
        given |= {"number": 0, "sentence": first.samples[0].raw}
