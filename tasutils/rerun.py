"""A run made again from its record alone, and whether its sentences come out the same."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasutils import paths
from tasutils.compare import other_pictures, pictures_told, sentence_table
from tasutils.config import leaves_of
from tasutils.errors import TasError
from tasutils.evaluate import evaluate
from tasutils.metrics import METRIC_VERSION
from tasutils.runs import (
    MASKS_FOLDER,
    SAMPLES_FILE,
    SEEDS,
    Run,
    RunRecord,
    git_state,
    library_versions,
    model_files,
    read_run,
)

if TYPE_CHECKING:
    from tasutils.baselines import Method
    from tasutils.config import Preset
    from tasutils.datasets.sample import RefDataset
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

    record, preset = run.record, run.preset()
    if (file is not None) != (record.dataset == "own"):
        raise TasError(
            f"{run.folder.name} is over {record.dataset} {record.split}: "
            + ("leave out --file" if file else "name its .csv or .jsonl with --file")
        )
    split = str(file or record.split)
    dataset = load_dataset(record.dataset, split, record.split_by or None, root, images)
    with suppress(TasError):  # a device that is not here
        device = device or pick_device(record.device)
    tas = load(preset, device=device)
    method, switches = _method(record, tas)
    unlike = _unlike(record, preset, dataset, tas.device)
    if switches != record.method_settings:
        unlike.append(f"{record.method} had {record.method_settings} and has {switches}")
    if unlike and not anyway:
        more = f"; and {len(unlike) - 3} more" if len(unlike) > 3 else ""
        raise TasError(
            f"{run.folder.name} cannot be made again as it was: {'; '.join(unlike[:3])}"
            f"{more}; go on with --anyway"
        )
    options |= {"limit_images": record.n_images if record.partial else None}
    options["masks"] = (run.folder / MASKS_FOLDER).is_dir()
    again = read_run(evaluate(dataset, tas, methods=[method], **options))
    rows, n = sentence_table(run.samples, again.samples), max(len(run.samples), len(again.samples))
    files = [(one.folder / SAMPLES_FILE).read_bytes() for one in (run, again)]
    n_changed = n - len(rows) + int(rows["changed"].sum())  # one that a run lacks counts
    pictures = other_pictures(run.samples, again.samples)
    notes = [*unlike, *_notes(record)]
    return Rerun(run, again, n, n_changed, files[0] == files[1], notes, pictures)


def _method(record: RunRecord, tas: TAS) -> tuple[str | Method, dict[str, Any]]:
    """The method of a record, and the switches that it has here."""
    from tasutils.baselines import METHODS, make_method

    if record.method == "tas":
        return "tas", record.method_settings
    if record.method not in METHODS:
        raise TasError(
            f"method {record.method} is none of this package's; there are {', '.join(METHODS)}"
        )
    known = {k: v for k, v in record.method_settings.items() if k != "encoder"}
    alone = record.method in ("clip_only", "text_only")
    method = make_method(record.method, tas, record.dataset, **({} if alone else known))
    return method, dict(getattr(method, "settings", {}))


def _unlike(record: RunRecord, preset: Preset, dataset: RefDataset, device: str) -> list[str]:
    """What is not as the record says, each in a few words."""
    told, found = leaves_of(record.config), []
    later = [name for name in preset.leaves() if name not in told]
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
    if record.seeds != SEEDS:
        found.append(f"seeds were {record.seeds} and are {SEEDS}")
    if record.metric_version != METRIC_VERSION:
        found.append(f"metrics were {record.metric_version} and are {METRIC_VERSION}")
    return found


def _notes(record: RunRecord) -> list[str]:
    """What may have a say and need not: commit and versions."""
    commit, dirty = git_state(paths.ROOT)
    then, now = (
        f"{(c or 'no commit')[:12]}{' and changes' if d else ''}"
        for c, d in ((record.git_commit, record.git_dirty), (commit, dirty))
    )
    here = library_versions()
    return [f"code: {then} then, {now} now"] * (then != now or bool(dirty)) + [
        f"{name} {old} then, {here.get(name, 'none')} now"
        for name, old in record.versions.items()
        if here.get(name) != old
    ]
