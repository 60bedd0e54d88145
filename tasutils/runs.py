"""Runs on disk: `results/<run_id>/` with run.json, samples.parquet and scores.parquet.

All tables are built by reading runs; `run_writer` writes them.

samples.parquet, one row a sentence: sample_id, image_id, ref_id, sent_id, text, raw, category,
chosen (index of the mask, -1 for none), n_proposals, intersection_px, union_px, iou, gt_area_px,
oracle_intersection_px, oracle_union_px, oracle_iou, rectified, reason, image_digest (of the
picture's pixels), a column for each flag and, where annotations have several polygons, the pixels
by REFER's overlap rule as refer_....
scores.parquet, one row a sentence and proposal: sample_id, proposal, v, p, n, region, yields (of a
peer of TAS: score), intersection_px, union_px, gt_area_px; and n_<rule>, region_<form> and
yields_<form> by the synonym rules and rectifier forms that the preset has not (`alternatives`).
A sentence without ground truth has NaN for all that needs one. masks/<sample_id>.png, where asked
for, are the chosen masks, 0 or 255.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasutils.errors import TasError
from tasutils.stats import Interval

if TYPE_CHECKING:
    import pandas as pd

RECORD_FILE, SAMPLES_FILE, SCORES_FILE = "run.json", "samples.parquet", "scores.parquet"
MASKS_FOLDER = "masks"
_MAX_ROWS = 200_000_000
_PIXELS = ("intersection_px", "union_px")
_SAMPLE_COLUMNS = dict.fromkeys(("sample_id", "image_id", "text"), False) | dict.fromkeys(
    ("chosen", "n_proposals", "iou", *_PIXELS, *(f"oracle_{name}" for name in _PIXELS)), True
)
_SCORE_COLUMNS = {"sample_id": False, "proposal": True} | dict.fromkeys(_PIXELS, True)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(_Part):
    """A metric with its 95 % interval over images, and the samples and images it rests on."""

    value: float
    low: float
    high: float
    n: int
    n_images: int

    @classmethod
    def of(cls, interval: Interval) -> Metric:
        """The metric of a bootstrap interval."""
        return cls(**interval._asdict())


class ModelFile(_Part):
    """A model that took part: its name in the preset, and the SHA-256 of the file or folder."""

    name: str
    sha256: str


class RunRecord(_Part):
    """All that is needed to judge and repeat a run; see DESIGN, 'Formats'.

    `partial` is True when not all images of the split were used: n_used sentences of n_total.
    `split_by` says whose splits, where a data set has several. `index_digest` is of the data set's
    index files, `pictures_digest` of the pixels of the pictures used. `n_without_mask`
    sentences have no ground truth and enter no metric. `metrics` holds `metrics.METRIC_NAMES` of
    the answers and, as `oracle_...`, of the oracle; nothing when no sentence has a ground truth.
    `times_s` sums the stages over the `n_described` images that were not read from the store;
    `answer_s` is what the method needed on described scenes. `method` is TAS or one of its peers,
    with its switches in `method_settings`; alpha and lam are those of TAS.
    """

    run_id: str = Field(pattern=r"^[^/\\\x00-\x1f]*$")  # part of the name of a file
    created: str
    preset: str
    method: str = "tas"
    method_settings: dict[str, Any] = {}
    config: dict[str, Any]
    config_digest: str
    alpha: float
    lam: float
    dataset: str
    split: str
    split_by: str = ""
    index_digest: str
    pictures_digest: str = ""
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


@dataclass(frozen=True)
class Run:
    """A run on disk; its tables are read when asked for."""

    folder: Path
    record: RunRecord

    def samples(self) -> pd.DataFrame:
        """One row a sentence; see the module. Raises TasError for a missing or damaged file."""
        return _read_table(self.folder / SAMPLES_FILE, _SAMPLE_COLUMNS)

    def scores(self) -> pd.DataFrame:
        """One row a sentence and proposal; see the module. Raises TasError likewise."""
        return _read_table(self.folder / SCORES_FILE, _SCORE_COLUMNS)


def read_run(path: Path | str) -> Run:
    """Open a run by its folder or its run.json.

    Raises:
        TasError: there is no run, or its record is damaged.
    """
    path = Path(path)
    folder = path.parent if path.name == RECORD_FILE else path
    try:
        record = RunRecord.model_validate_json((folder / RECORD_FILE).read_bytes())
    except OSError as error:
        raise TasError(
            f"{folder}: no run there ({error.strerror}); `tas evaluate` makes one"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "record"
        raise TasError(
            f"{folder / RECORD_FILE}: {where}: {first['msg'][:80]}; evaluate "
            "again and move this folder away"
        ) from None
    return Run(folder, record)


def list_runs(out: Path | str) -> list[Run]:
    """The runs of a folder, oldest first; folders that are no runs are passed over."""
    folders = sorted(file.parent for file in Path(out).glob(f"*/{RECORD_FILE}"))
    return [read_run(folder) for folder in folders if not folder.name.startswith(".")]


def _read_table(path: Path, numbers: dict[str, bool]) -> pd.DataFrame:
    """A table that has at least some columns; numbers: which, and whether they hold numbers."""
    import pandas as pd
    import pyarrow
    import pyarrow.parquet as pq

    try:
        # a few bytes of a file can stand for any number of rows
        if pq.read_metadata(path).num_rows > _MAX_ROWS:
            raise ValueError(f"over {_MAX_ROWS:,} rows")
        table = pq.read_table(path, page_checksum_verification=True).to_pandas()
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        pyarrow.ArrowException,
    ) as error:
        reason = " ".join(str(error).split())[:80]
        raise TasError(f"{path}: cannot be read ({reason}); evaluate again") from None
    for name, number in numbers.items():
        if name not in table or (
            number and len(table) and not pd.api.types.is_numeric_dtype(table[name])
        ):
            raise TasError(f"{path}: no column {name} as a run has it; evaluate again")
    return table
