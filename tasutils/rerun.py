"""A run made again from its record alone, and whether its sentences come out the same.

The record holds settings, data set, split, limit, method and seeds; models are checked by digest
and the data set by the digest of its index files before any work is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tasutils.config import Preset, leaves_of
from tasutils.errors import TasError
from tasutils.metrics import METRIC_VERSION
from tasutils.provenance import git_state, library_versions
from tasutils.run_diff import other_pictures, sentence_table
from tasutils.run_diff_lines import pictures_told
from tasutils.run_record import SEEDS, model_files
from tasutils.runs import MASKS_FOLDER, SAMPLES_FILE, Run, RunRecord, read_run

if TYPE_CHECKING:
    from tasutils.baselines import Method
    from tasutils.datasets import RefDataset
    from tasutils.store import SceneStore
    from tasutils.tas import TAS

_SHOWN = 3


@dataclass(frozen=True)
class Rerun:
    """A run and its second making.

    n: sentences; n_changed: of them, those whose answer or pixels came out otherwise; same_bytes:
    is samples.parquet equal byte for byte; notes: what differs around the run that need not matter,
    such as versions; pictures: names of those whose pixels were others, None where it is not known.
    """

    first: Run
    again: Run
    n: int
    n_changed: int
    same_bytes: bool
    notes: list[str]
    pictures: list[str] | None = None

    def __str__(self) -> str:
        others = f"; of the pictures {pictures_told(self.pictures)}" if self.pictures else ""
        if self.n_changed:
            return (
                f"not reproduced: {self.n_changed} of {self.n} sentences came out otherwise"
                f"{others}; tas diff {self.first.folder} {self.again.folder}"
            )
        how = "byte for byte" if self.same_bytes else "in every answer and pixel, not in all bytes"
        return f"reproduced: samples of all {self.n} sentences are equal {how}{others}"


def rerun(
    run: Run,
    *,
    file: Path | None = None,
    root: Path | None = None,
    images: Path | None = None,
    store: SceneStore | None = None,
    out: Path | None = None,
    device: str | None = None,
    anyway: bool = False,
    progress: bool = True,
) -> Rerun:
    """Make a run again.

    Args:
        run: what is made again; it stays as it is.
        file, root, images: where the data is if not in its usual place; file: of own data.
        store: where described scenes are read from if they are there; None describes all anew.
        out: folder of the new run, as in `evaluate`.
        device: where the networks run; None: where they ran.
        anyway: whether to go on where settings, models or data are not those of the record.
        progress: as in `evaluate`.

    Raises:
        TasError: the record has settings unknown to this version, names a method that is not the
            package's, or, unless `anyway`, something here is not as it was; says in one line what.
    """
    from tasutils.evaluate import evaluate_all
    from tasutils.tas import load

    record = run.record
    preset = recorded_preset(run)
    dataset = _dataset(run, file, root, images)
    tas = load(preset, device=device or _device(record.device))
    method, unlike = _method(record, tas)
    unlike = [*_unlike(record, preset, dataset, tas.device), *unlike]
    if unlike and not anyway:
        more = f"; and {len(unlike) - _SHOWN} more" if len(unlike) > _SHOWN else ""
        raise TasError(
            f"{run.folder.name} cannot be made again as it was: {'; '.join(unlike[:_SHOWN])}"
            f"{more}; go on with --anyway"
        )
    (folder,) = evaluate_all(
        [dataset],
        tas,
        [method],
        limit_images=record.n_images if record.partial else None,
        store=store,
        progress=progress,
        out=out,
        masks=(run.folder / MASKS_FOLDER).is_dir(),
    )
    return compare_again(run, read_run(folder), [*unlike, *_notes(record)])


def recorded_preset(run: Run) -> Preset:
    """The preset of a run's record, settings that came after it at their defaults.

    Raises:
        TasError: the record has a setting that this version does not know.
    """
    record = run.record
    try:
        return Preset.model_validate(record.config)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "preset"
        raise TasError(
            f"{run.folder.name} has a setting that this version does not know: {where}: "
            f"{first['msg'][:80]}; make it again with its own version, commit {record.git_commit}"
        ) from None


def compare_again(first: Run, again: Run, notes: list[str]) -> Rerun:
    """Whether the samples of two runs are the same; a sentence that one of them lacks counts."""
    tables = first.samples(), again.samples()
    rows = sentence_table(*tables)
    n = max(map(len, tables))
    files = [(run.folder / SAMPLES_FILE).read_bytes() for run in (first, again)]
    n_changed = n - len(rows) + int(rows["changed"].sum())
    pictures = other_pictures(*tables)
    return Rerun(first, again, n, n_changed, files[0] == files[1], notes, pictures)


def _unlike(record: RunRecord, preset: Preset, dataset: RefDataset, device: str) -> list[str]:
    """What is not as the record says, each in a few words."""
    told = leaves_of(record.config)
    later = [name for name in preset.leaves() if name not in told]
    found = []
    if later:
        found.append(f"{len(later)} settings came after it, such as {later[0]}")
    elif preset.digest() != record.config_digest:
        found.append("its settings were edited: their digest is another")
    if dataset.index_digest != record.index_digest:
        found.append(
            f"the index files of {record.dataset} are others (digest {record.index_digest[:12]} "
            f"then, {dataset.index_digest[:12]} now)"
        )
    elif len(dataset) != record.n_total:
        found.append(f"{record.split} had {record.n_total} sentences and has {len(dataset)}")
    here = model_files(preset, record.method, record.method_settings)
    for name, model in record.models.items():
        now = here[name].sha256 if name in here else "missing"
        if now != model.sha256:
            found.append(f"{name} is another (sha256 {model.sha256[:12]} then, {now[:12]} now)")
    if device != record.device:
        found.append(f"it ran on {record.device}, not on {device}")
    for what, then, value in (
        ("seeds", record.seeds, SEEDS),
        ("metrics", record.metric_version, METRIC_VERSION),
    ):
        if then != value:
            found.append(f"{what} were {then} and are {value}")
    return found


def _notes(record: RunRecord) -> list[str]:
    """What may have a say and need not: commit and versions."""
    from tasutils import paths

    commit, dirty = git_state(paths.ROOT)
    then, now = (
        f"{(c or 'no commit')[:12]}{' and changes' if d else ''}"
        for c, d in ((record.git_commit, record.git_dirty), (commit, dirty))
    )
    notes = [f"code: {then} then, {now} now"] if then != now or dirty else []
    versions = library_versions()
    changed = [
        f"{name} {old} then, {versions.get(name, 'none')} now"
        for name, old in record.versions.items()
        if versions.get(name) != old
    ]
    return [*notes, *changed]


def _dataset(run: Run, file: Path | None, root: Path | None, images: Path | None) -> RefDataset:
    """The split of a record, from where it is now."""
    from tasutils.datasets import load_dataset

    record = run.record
    if (file is not None) != (record.dataset == "own"):
        raise TasError(
            f"{run.folder.name} is over {record.dataset} {record.split}: "
            + ("leave out --file" if file else "name its .csv or .jsonl with --file")
        )
    split = record.split if file is None else str(file)
    return load_dataset(record.dataset, split, record.split_by or None, root, images)


def _device(recorded: str) -> str | None:
    """The recorded device, or None for what is here."""
    from tasutils.tas import pick_device

    try:
        return pick_device(recorded)
    except TasError:
        return None


def _method(record: RunRecord, tas: TAS) -> tuple[str | Method, list[str]]:
    """The method of a record with its switches, and whether they are all that it had."""
    from tasutils.baselines import make_method, method_names

    if record.method == "tas":
        return "tas", []
    if record.method not in method_names():
        raise TasError(
            f"method {record.method} is none of this package's; there are "
            f"{', '.join(method_names())}"
        )
    alone = record.method in ("clip_only", "text_only")
    switches: dict[str, Any] = {} if alone else dict(record.method_settings)
    switches.pop("encoder", None)
    method = make_method(record.method, tas, record.dataset, **switches)
    settings = dict(getattr(method, "settings", {}))
    if settings == record.method_settings:
        return method, []
    return method, [f"{record.method} had {record.method_settings} and has {settings}"]
