"""Write runs: into a temporary folder that is renamed when complete; none is ever overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasutils.errors import TasError
from tasutils.paths import name_part, unfinished_folder
from tasutils.runs import RECORD_FILE, SAMPLES_FILE, SCORES_FILE, RunRecord

if TYPE_CHECKING:
    import pandas as pd


def run_name(record: RunRecord) -> str:
    """A readable name: time, data set and split, preset, images if partial, digest.

    Such as `20261123-101500_refscenes-val_tiny_partial40_3f2a9c`.
    """
    time = record.created[:19].replace("-", "").replace(":", "").replace("T", "-")
    preset = name_part("".join(c if c.isalnum() or c in "+.-" else "-" for c in record.preset), 50)
    partial = [f"partial{record.n_images}"] if record.partial else []
    data = name_part("-".join(filter(None, (record.dataset, record.split_by, record.split))), 90)
    method = [] if record.method == "tas" else [name_part(record.method, 40)]
    parts = [time, data, preset, *method, *partial, record.config_digest[:6]]
    return "_".join(parts)


@contextmanager
def run_folder(out: Path) -> Iterator[Path]:
    """A temporary folder inside `out` that is gone afterwards, unless `keep_run` renamed it.

    Raises:
        TasError: `out` cannot be written; found out before any work is done.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(unfinished_folder(out))
        except OSError as error:
            raise TasError(
                f"{out}: cannot be written ({error.strerror}); give another folder with --out"
            ) from None
        yield folder


def keep_run(folder: Path, record: RunRecord, samples: pd.DataFrame, scores: pd.DataFrame) -> Path:
    """Write a run into its temporary folder and give that its name, beside earlier runs.

    Args:
        folder: from `run_folder`.
        record: its `run_id` is replaced by the final name.
        samples: table of samples, see `runs`.
        scores: table of scores.

    Returns:
        The run's folder.

    Raises:
        TasError: the disk refuses.
    """
    try:
        samples.to_parquet(folder / SAMPLES_FILE, index=False)
        scores.to_parquet(folder / SCORES_FILE, index=False, **_packing(scores))
        name, count = run_name(record), 1
        while True:
            run_id = name if count == 1 else f"{name}-{count}"
            target = folder.parent / run_id
            if not target.exists():
                final = record.model_copy(update={"run_id": run_id})
                text = final.model_dump_json(indent=2) + "\n"
                (folder / RECORD_FILE).write_text(text, encoding="utf-8")
                try:
                    return folder.rename(target)
                except OSError:
                    if not target.exists():
                        raise
            count += 1
    except OSError as error:
        raise TasError(
            f"{folder.parent}: the run cannot be written ({error.strerror}); make room "
            "or give another folder with --out"
        ) from None


def _packing(scores: pd.DataFrame) -> dict[str, Any]:
    """How scores are packed: V, where no two rows are alike, by places of its bytes."""
    unlike = [name for name in ("v", "score") if name in scores]
    rest = [name for name in scores if name not in unlike]
    return {"compression": "zstd", "use_dictionary": rest, "use_byte_stream_split": unlike}
