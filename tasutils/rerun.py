"""A run made again from its record alone, and whether its sentences come out the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasutils.compare import other_pictures, pictures_told, sentence_table
from tasutils.config import leaves_of
from tasutils.errors import TasError
from tasutils.evaluate import evaluate, known_facts
from tasutils.runs import MASKS_FOLDER, SAMPLES_FILE, Run, RunRecord, read_run

if TYPE_CHECKING:
    from tasutils.baselines import Method
    from tasutils.tas import TAS


@dataclass(frozen=True)
class Rerun:
    """A run and its second making.

    n_changed: of n sentences, those whose answer or pixels came out otherwise; same_bytes: is
    samples.parquet equal byte for byte; notes: what differs around the run that need not matter;
    pictures: names of those whose pixels were others.
    """

    first: Run
    again: Run
    n: int
    n_changed: int
    same_bytes: bool
    notes: list[str]
    pictures: list[str]

    def __str__(self) -> str:
        others = f"; of the pictures {pictures_told(self.pictures)}" if self.pictures else ""
        if self.n_changed:
            return (
                f"not reproduced: {self.n_changed} of {self.n} sentences came out otherwise"
                f"{others}; tas compare {self.first.folder} {self.again.folder}"
            )
        how = "byte for byte" if self.same_bytes else "in every answer and pixel, not in all bytes"
        return f"reproduced: samples of all {self.n} sentences are equal {how}{others}"


def rerun(
    run: Run, *, file: Path | None = None, root: Path | None = None, images: Path | None = None,
    device: str | None = None, anyway: bool = False, **options: Any,
) -> Rerun:  # fmt: skip
    """Make a run again, beside the first.

    file, root, images: where the data is if not in its usual place, file: of own data; device: None
    for where the networks ran; anyway: whether to go on where settings, models or data are not
    those of the record; options: as in `evaluate_all`, without a store all is described.

    TasError: the record has settings unknown to this version, names a method that is not the
    package's, or, unless `anyway`, something here is not as it was; says in one line what.
    """
    from tasutils.datasets import load_dataset
    from tasutils.tas import load, pick_device

    record = run.record
    if (file is not None) != (record.dataset == "own"):
        raise TasError(
            f"{run.folder.name} is over {record.dataset} {record.split}: "
            + ("leave out --file" if file else "name its .csv or .jsonl with --file")
        )
    split, preset = str(file or record.split), run.preset()
    dataset = load_dataset(record.dataset, split, record.split_by or None, root, images)
    with suppress(TasError):  # a device that is not here
        device = device or pick_device(record.device)
    tas = load(preset, device=device)
    method = _method(record, tas)
    here = known_facts(dataset, method, tas)
    unlike = list(_unlike(record, here))
    if unlike and not anyway:
        more = f"; and {len(unlike) - 3} more" if len(unlike) > 3 else ""
        raise TasError(
            f"{run.folder.name} cannot be made again as it was: {'; '.join(unlike[:3])}"
            f"{more}; go on with --anyway"
        )
    options |= {"limit_images": record.n_images if record.partial else None}
    options["masks"] = (run.folder / MASKS_FOLDER).is_dir()
    again = read_run(evaluate(dataset, tas, methods=[method or "tas"], **options))
    rows, n = sentence_table(run.samples, again.samples), max(len(run.samples), len(again.samples))
    files = [(one.folder / SAMPLES_FILE).read_bytes() for one in (run, again)]
    n_changed = n - len(rows) + int(rows["changed"].sum())  # one that a run lacks counts
    pictures = other_pictures(run.samples, again.samples)
    notes = [*unlike, *_notes(record, here)]
    return Rerun(run, again, n, n_changed, files[0] == files[1], notes, pictures)


def _method(record: RunRecord, tas: TAS) -> Method | None:
    """The method of a record; None is TAS."""
    from tasutils.baselines import METHODS, make_method

    if record.method == "tas":
        return None
    if record.method.partition("+")[0] not in METHODS:
        raise TasError(
            f"method {record.method} is none of this package's; there are {', '.join(METHODS)}"
        )
    switches = {k: v for k, v in record.method_settings.items() if k != "encoder"}
    if record.method.partition("+")[0] in ("clip_only", "text_only"):
        switches = {}
    method: Method = make_method(record.method, tas, record.dataset, **switches)
    return method


_UNLIKE = {
    "index_digest": "the index files of {of.dataset} are others (digest {then:.12} then, {now:.12} "
    "now)",
    "n_total": "{of.split} had {then} sentences and has {now}",
    "device": "it ran on {then}, not on {now}",
    "seeds": "seeds were {then} and are {now}",
    "metric_version": "metrics were {then} and are {now}",
    "method_settings": "{of.method} had {then} and has {now}",
}


def _unlike(record: RunRecord, here: Mapping[str, Any]) -> Iterator[str]:
    """What is not as the record says, each in a few words; here: of `known_facts`."""
    later = [name for name in leaves_of(here["config"]) if name not in leaves_of(record.config)]
    if later:
        yield f"{len(later)} settings came after it, such as {later[0]}"
    elif here["config_digest"] != record.config_digest:
        yield "its settings were edited: their digest is another"
    for name, model in record.models.items():
        now = here["models"][name].sha256 if name in here["models"] else "missing"
        if now != model.sha256:
            yield f"{name} is another (sha256 {model.sha256[:12]} then, {now[:12]} now)"
    for name, words in _UNLIKE.items():
        then, now = getattr(record, name), here[name]
        if then != now:
            yield words.format(of=record, then=then, now=now)


def _notes(record: RunRecord, here: Mapping[str, Any]) -> Iterator[str]:
    """What may have a say and need not: commit and versions."""
    then, now = (
        f"{(commit or 'no commit')[:12]}{' and changes' if dirty else ''}"
        for commit, dirty in (
            (record.git_commit, record.git_dirty), (here["git_commit"], here["git_dirty"])
        )
    )  # fmt: skip
    if then != now or here["git_dirty"]:
        yield f"code: {then} then, {now} now"
    for name, old in record.versions.items():
        if here["versions"].get(name) != old:
            yield f"{name} {old} then, {here['versions'].get(name, 'none')} now"
