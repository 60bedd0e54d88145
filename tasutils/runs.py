"""Runs on disk: `results/<run_id>/` with run.json, samples.parquet and scores.parquet.

All tables are built by reading runs; `evaluate` makes them.

samples.parquet, one row a sentence: sample_id, image_id, ref_id, sent_id, text, raw, category,
chosen (index of the first chosen mask, -1 for none), n_proposals, intersection_px, union_px, iou,
gt_area_px, oracle_intersection_px, oracle_union_px, oracle_iou, rectified, reason, image_digest (of
the picture's pixels), a column for each flag; where annotations have several polygons, the pixels
by REFER's overlap rule as refer_...; where the data set has sentences that mean nothing, no_target
(an empty answer has an IoU of 1 there, any other one of 0); own_mask, where a method drew masks.
scores.parquet, one row a sentence and proposal: sample_id, proposal, term_<name> for each term (of
a peer of TAS: score), region, yields, intersection_px, union_px, gt_area_px; and
alt_<term>_<rule>, region_<form> and yields_<form> by the synonym rules and rectifier forms that the
preset has not (`evaluate.alternatives`).
A sentence without ground truth has NaN for all that needs one. masks/<sample_id>.png, where asked
for, are the chosen masks, 0 or 255.
"""

from __future__ import annotations

import io
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasutils.config import Preset, first_fault
from tasutils.errors import TasError, refused, say_once
from tasutils.metrics import bootstrap
from tasutils.paths import name_part, unfinished_folder
from tasutils.score_table import OWN, Pixels, ScoreTable, known, no_target, pixels_of

if TYPE_CHECKING:
    import pandas as pd

RECORD_FILE, SAMPLES_FILE, SCORES_FILE = "run.json", "samples.parquet", "scores.parquet"
MASKS_FOLDER = "masks"
SEEDS = {"bootstrap": 0}
_MAX_ROWS = 200_000_000
_TEXTS = {"sample_id", "image_id", "text"}
_COLUMNS = {  # that every run has; they are numbers, but for the texts
    SAMPLES_FILE: ("sample_id", "image_id", "text", "chosen", "n_proposals", "iou",
                   "intersection_px", "union_px", "oracle_intersection_px", "oracle_union_px"),
    SCORES_FILE: ("sample_id", "proposal", "intersection_px", "union_px"),
}  # fmt: skip
_PACKAGES = (
    "tasutils", "numpy", "pandas", "pyarrow", "pycocotools", "torch", "torchvision",
    "transformers", "open_clip_torch", "segment-anything", "spacy", "nltk",
)  # fmt: skip


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(_Frozen):
    """A metric with its 95 % interval over images, and the samples and images it rests on."""

    value: float
    low: float
    high: float
    n: int
    n_images: int


class ModelFile(_Frozen):
    """A model that took part: its name in the preset, and the SHA-256 of the file or folder."""

    name: str
    sha256: str


class RunRecord(_Frozen):
    """All that is needed to judge and repeat a run.

    `partial` is True when not all images of the split were used: n_used sentences of n_total.
    `split_by` says whose splits, where a data set has several. `index_digest` is of the data set's
    index files, `pictures_digest` of the pixels of the pictures used. `n_without_mask`
    sentences have no ground truth and enter no metric. `metrics` holds `metrics.METRIC_NAMES` of
    the answers and, as `oracle_...`, of the oracle; nothing when no sentence has a ground truth.
    `times_s` sums the stages over the `n_described` images that were not read from the store;
    `answer_s` is what the method needed on described scenes. `method` is TAS or one of its peers,
    with its switches in `method_settings`; `weights` are those of TAS's terms. `tables` are the
    SHA-256 of both tables, by the file's name.
    """

    run_id: str = Field(pattern=r"^[^/\\\x00-\x1f]*$")  # part of the name of a file
    created: str
    preset: str
    method: str = "tas"
    method_settings: dict[str, Any] = {}
    config: dict[str, Any]
    config_digest: str
    weights: dict[str, float]
    dataset: str
    split: str
    split_by: str = ""
    index_digest: str
    pictures_digest: str
    n_total: int
    n_used: int
    n_images_total: int
    n_images: int
    n_without_proposals: int
    n_without_mask: int = 0
    partial: bool
    models: dict[str, ModelFile]
    versions: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    device: str
    dtype: str
    seeds: dict[str, int]
    wall_s: float
    answer_s: float = 0.0
    times_s: dict[str, float]
    n_described: int
    peak_memory_mib: dict[str, float]
    metrics: dict[str, Metric]
    metric_version: str
    tables: dict[str, str]


@dataclass(frozen=True, eq=False)
class Run:
    """A run on disk; its tables are read, and checked against the record, when asked for.

    TasError for a missing, damaged or changed file.
    """

    folder: Path
    record: RunRecord

    @property
    def family(self) -> str:
        """The data set's name."""
        return self.record.dataset

    @property
    def split(self) -> str:
        """The split's name."""
        return self.record.split

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row a sentence; see the module."""
        return _read_table(self, SAMPLES_FILE)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row a sentence and proposal; see the module."""
        return _read_table(self, SCORES_FILE)

    @cached_property
    def table(self) -> ScoreTable:
        """The scores as arrays, grouped by sentence, to choose by other settings."""
        scores = self.record.config.get("scores", {})
        strict = bool(scores.get("strict_official")) and scores.get("normalise", "none") != "none"
        weights = self.record.weights
        parts = (("language", "synonym_rule"), ("rectifier", "form"))
        rule, form = (str(self.record.config.get(part, {}).get(k, OWN)) for part, k in parts)
        return ScoreTable(
            self.scores, self.samples, weights, strict, self.epsilon, rule, form,
            decides="decide" in self.record.config,
        )  # fmt: skip

    @cached_property
    def images(self) -> NDArray[np.str_]:
        """The image of each sentence, str (n,)."""
        return self.samples["image_id"].to_numpy(str)

    @cached_property
    def no_target(self) -> NDArray[np.bool_]:
        """Which sentences mean nothing, bool (n,)."""
        return no_target(self.samples)

    @property
    def epsilon(self) -> float:
        """Of the IoU, see `metrics.iou`."""
        return float(self.record.config.get("metrics", {}).get("epsilon", 0.0))

    def preset(self) -> Preset:
        """The preset that the run had, settings that came after it at their defaults."""
        try:
            return Preset.model_validate(self.record.config)
        except ValidationError as error:
            raise TasError(
                f"{self.folder.name} has a setting that this version does not know: "
                f"{first_fault(error)}; evaluate anew, or take its own version, commit "
                f"{self.record.git_commit}"
            ) from None

    def pixels(self, who: str = "") -> Pixels:
        """Intersection and union of each answer, int64 (n,) px; who: "oracle_" for the best masks.

        Raises TasError where a sentence has no ground truth.
        """
        return pixels_of(known(self.samples), who)


# --- reading ---


def read_run(path: Path | str) -> Run:
    """Open a run by its folder or run.json; TasError for none, a damaged one or an older form."""
    path = Path(path)
    folder = path.parent if path.name == RECORD_FILE else path
    try:
        return Run(folder, RunRecord.model_validate_json((folder / RECORD_FILE).read_bytes()))
    except OSError as error:
        raise TasError(
            f"{folder}: no run there ({error.strerror}); `tas evaluate` makes one"
        ) from None
    except ValidationError as error:
        raise TasError(
            f"{folder / RECORD_FILE}: {first_fault(error, 'record')}: damaged, or of another "
            "version; evaluate again and move this folder away"
        ) from None


def list_runs(out: Path | str) -> list[Run]:
    """The runs of a folder, oldest first; folders that are no runs are passed over.

    One that cannot be read, as of an older form, is skipped with a line on stderr.
    """
    runs = []
    for file in sorted(Path(out).glob(f"[!.]*/{RECORD_FILE}")):
        try:
            runs.append(read_run(file))
        except TasError as error:
            say_once(f"skipped: {error}")
    return sorted(runs, key=lambda run: run.record.created)


def _read_table(run: Run, name: str) -> pd.DataFrame:
    """A table of a run with the columns that every run has, its bytes as the record says."""
    import pyarrow
    import pyarrow.parquet as pq

    path = run.folder / name
    try:
        data = path.read_bytes()
        if sha256(data).hexdigest() != run.record.tables.get(name):
            raise ValueError("its SHA-256 is not the record's: damaged or changed")
        file = pq.ParquetFile(io.BytesIO(data))
        # a few bytes of a file can stand for any number of rows
        if file.metadata.num_rows > _MAX_ROWS:
            raise ValueError(f"over {_MAX_ROWS:,} rows")
        table = file.read().to_pandas()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:80]
        raise TasError(f"{path}: cannot be read ({reason}); evaluate again") from None
    numbers = set(table.select_dtypes("number") if len(table) else table)
    for column in _COLUMNS[name]:
        if column not in (table if column in _TEXTS else numbers):
            raise TasError(f"{path}: no column {column} as a run has it; evaluate again")
    return table


# --- writing ---


@contextmanager
def run_folder(out: Path) -> Iterator[Path]:
    """A temporary folder inside `out` that is gone afterwards, unless `keep_run` renamed it.

    TasError, before any work is done, where `out` cannot be written.
    """
    with ExitStack() as stack:
        with refused(f"{out}: cannot be written", "give another folder with --out"):
            folder = stack.enter_context(unfinished_folder(out))
        yield folder


def keep_run(folder: Path, record: RunRecord, samples: pd.DataFrame, scores: pd.DataFrame) -> Path:
    """Write a run into its temporary folder and give that its name, never one that was there.

    folder: from `run_folder`; record: its `run_id` is replaced by the final name, `tables` by the
    digests. Returns the run's folder; TasError where the disk refuses.
    """
    # V, where no two rows are alike, is packed by places of its bytes
    unlike = [name for name in scores if str(name) in ("term_v", "score")]
    packing: dict[str, Any] = {
        "compression": "zstd", "use_byte_stream_split": unlike,
        "use_dictionary": [name for name in scores if name not in unlike],
    }  # fmt: skip
    what = f"{folder.parent}: the run cannot be written"
    with refused(what, "make room or give another folder with --out"):
        samples.to_parquet(folder / SAMPLES_FILE, index=False)
        scores.to_parquet(folder / SCORES_FILE, index=False, **packing)
        digests = {
            name: sha256((folder / name).read_bytes()).hexdigest()
            for name in (SAMPLES_FILE, SCORES_FILE)
        }
        for k in count(1):
            target = folder.parent / f"{_run_name(record)}{f'-{k}' if k > 1 else ''}"
            final = record.model_copy(update={"run_id": target.name, "tables": digests})
            text = final.model_dump_json(indent=2) + "\n"
            (folder / RECORD_FILE).write_text(text, encoding="utf-8")
            try:
                if not target.exists():
                    return folder.rename(target)
            except OSError:  # another process was quicker
                if not target.exists():
                    raise
    raise AssertionError


def _run_name(record: RunRecord) -> str:
    """A readable name, such as `20261123-101500_refscenes-val_tiny_partial40_3f2a9c`."""
    time = record.created[:19].replace("-", "").replace(":", "").replace("T", "-")
    preset = name_part("".join(c if c.isalnum() or c in "+.-" else "-" for c in record.preset), 50)
    partial = [f"partial{record.n_images}"] if record.partial else []
    data = name_part("-".join(filter(None, (record.dataset, record.split_by, record.split))), 90)
    method = [] if record.method == "tas" else [name_part(record.method, 40)]
    return "_".join([time, data, preset, *method, *partial, record.config_digest[:6]])


def metrics_of(samples: pd.DataFrame, epsilon: float = 0.0) -> dict[str, Metric]:
    """All metrics by name, the oracle's as `oracle_...`, of the samples that have a truth."""
    samples = samples[samples["gt_area_px"].notna()]
    if samples.empty:
        return {}
    found: dict[str, Metric] = {}
    for who in ("", "oracle_"):
        intervals = bootstrap(
            *pixels_of(samples, who), samples["image_id"].to_numpy(str), epsilon=epsilon,
            no_target=no_target(samples), seed=SEEDS["bootstrap"],
        )  # fmt: skip
        found |= {f"{who}{k}": Metric(**value._asdict()) for k, value in intervals.items()}
    return found


# --- what a number depends on beside its inputs ---


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on; absent ones left out."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Commit and whether tracked files differ from it; (None, None) outside a repository."""

    def git(*command: str) -> str | None:
        given = ["git", "-C", str(folder), *command]
        try:
            done = subprocess.run(given, capture_output=True, text=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    changes = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "HEAD"), None if changes is None else bool(changes)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory_mib() -> dict[str, float]:
    """Highest memory use of this process so far in MiB: `host`, and `cuda` where it was used."""
    peaks: dict[str, float] = {}
    with suppress(ImportError):  # Windows
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peaks["host"] = round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        peaks["cuda"] = round(torch.cuda.max_memory_allocated() / (1 << 20), 1)
    return peaks


def pictures_digest(samples: pd.DataFrame) -> str:
    """SHA-256 (hex) of the names of the pictures of a table of samples and of their digests."""
    pairs = samples[["image_id", "image_digest"]].drop_duplicates().astype(str)
    lines = sorted(f"{digest} {name}" for name, digest in pairs.to_numpy())
    return sha256("\n".join(lines).encode()).hexdigest()


def model_files(preset: Preset, method: str, settings: Mapping[str, Any]) -> dict[str, ModelFile]:
    """All weights, parser and WordNet with a say, by the dotted name of their setting."""
    from tasutils import paths
    from tasutils.language.parse import model_folder

    leaves, digests = preset.leaves(), preset.weight_digests()
    found = {name: (Path(str(leaves[name])).as_posix(), x) for name, x in digests.items()}
    for name, weights in settings.items():
        if name.endswith("checkpoint") and weights:
            digest = paths.content_digest(paths.weights_path(weights))
            found[f"{method}.{name}"] = (str(weights), digest)
    parser, wordnet = model_folder(preset.language.spacy_model), "corpora/wordnet.zip"
    found["language.spacy_model"] = (parser.name, paths.content_digest(parser))
    found["wordnet"] = (wordnet, paths.content_digest(paths.NLTK_DATA / wordnet))
    return {field: ModelFile(name=name, sha256=digest) for field, (name, digest) in found.items()}
