"""The loop of an evaluation: describe each image once, refer to it with each of its sentences."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasutils.answering import Segmenter, Task, answer_image
from tasutils.datasets.sample import RefDataset
from tasutils.errors import TasError
from tasutils.run_record import make_record
from tasutils.run_tables import RunTables
from tasutils.run_writer import keep_run, run_folder

if TYPE_CHECKING:
    from tasutils.baselines import Method
    from tasutils.config import Preset
    from tasutils.store import SceneStore


def evaluate(
    dataset: RefDataset,
    tas: Segmenter,
    *,
    limit_images: int | None = None,
    store: SceneStore | None = None,
    progress: bool = True,
    out: Path | None = None,
    masks: bool = False,
) -> Path:
    """Answer every sentence of a data set with TAS and write the run; see `evaluate_all`."""
    (folder,) = evaluate_all(
        [dataset],
        tas,
        limit_images=limit_images,
        store=store,
        progress=progress,
        out=out,
        masks=masks,
    )
    return folder


def evaluate_all(
    datasets: Sequence[RefDataset],
    tas: Segmenter,
    methods: Sequence[str | Method] = ("tas",),
    *,
    limit_images: int | None = None,
    store: SceneStore | None = None,
    progress: bool = True,
    out: Path | None = None,
    masks: bool = False,
) -> list[Path]:
    """Answer every sentence of data sets that share images by each method: one run for each pair.

    An image is described once, and a method computes once what it needs of it.

    Args:
        datasets: one split each; see `tasutils.datasets`.
        tas: the preset at work, from `tasutils.load`; its proposals are what all methods choose
            among, and lambda is the preset's for the name of the data set.
        methods: names of `baselines.method_names`, or methods of your own.
        limit_images: only the first so many images of each data set; its run is marked partial.
        store: where described scenes are kept and read back. An evaluation that is ended loses
            those of the last seconds.
        progress: whether a bar on stderr counts images.
        out: folder of runs; `paths.RESULTS` when None.
        masks: whether to write the chosen masks as `masks/<sample_id>.png`, 0 or 255, the form in
            which PhraseCut's own evaluator reads predictions.

    Returns:
        The runs' folders, for `runs.read_run`: all methods of the first data set, then of the next.

    Raises:
        TasError: an image, an annotation or weights are missing or damaged, `out` cannot be
            written, a method is unknown, or `limit_images` is not positive. Nothing is left
            half-written.
    """
    from tqdm import tqdm

    from tasutils import paths

    if limit_images is not None and limit_images < 1:
        raise TasError(f"limit_images is {limit_images}; give a number from 1 on, or none")
    created = datetime.now(UTC).isoformat(timespec="seconds")
    out = paths.RESULTS if out is None else Path(out)
    with ExitStack() as stack:
        tasks = [
            Task(
                data,
                method,
                RunTables(tas.preset.metrics.epsilon),
                stack.enter_context(run_folder(out)),
                dict(list(data.by_image().items())[:limit_images]),
            )
            for data, made in zip(datasets, _make(methods, tas, datasets), strict=True)
            for method in made
        ]
        places: dict[Path, list[tuple[Task, str]]] = {}
        for task in tasks:
            for image_id in task.used:
                places.setdefault(task.dataset.image_path(image_id), []).append((task, image_id))
        label = " ".join(dict.fromkeys(f"{d.name} {d.split}" for d in datasets))
        if store is not None:
            stack.enter_context(store)
        for path in tqdm(places, desc=label, unit="image", disable=not progress):
            answer_image(path, places[path], tas, store, masks)
        return [_keep(task, tas, created) for task in tasks]


def evaluate_families(
    families: Sequence[str],
    split: str,
    preset: Preset,
    *,
    methods: Sequence[str | Method] = ("tas",),
    limit_images: int | None = None,
    out: Path | None = None,
    device: str | None = None,
    progress: bool = True,
    masks: bool = False,
    split_by: str | None = None,
    root: Path | None = None,
    images: Path | None = None,
) -> list[Path]:
    """Evaluate a preset on several data sets, by their names; scenes are kept in `<out>/scenes`.

    `split_by`, `root` and `images` as in `load_dataset`; the other arguments, result and errors as
    in `evaluate_all`.
    """
    from tasutils import paths
    from tasutils.datasets import load_dataset
    from tasutils.store import SceneStore
    from tasutils.tas import load

    datasets = [load_dataset(family, split, split_by, root, images) for family in families]
    out = paths.RESULTS if out is None else Path(out)
    return evaluate_all(
        datasets,
        load(preset, device=device),
        methods,
        limit_images=limit_images,
        store=SceneStore(out / "scenes"),
        progress=progress,
        out=out,
        masks=masks,
    )


def _make(
    methods: Sequence[str | Method], tas: Any, datasets: Sequence[RefDataset]
) -> list[list[Method | None]]:
    """The methods of each data set; those with equal settings are one, and share what they keep."""
    from tasutils.baselines import make_method

    made: dict[tuple[str, str], Method | None] = {("tas", ""): None}

    def method_for(wanted: str | Method, dataset: RefDataset) -> Method | None:
        if wanted == "tas":
            return None
        method = make_method(wanted, tas, dataset.name) if isinstance(wanted, str) else wanted
        return made.setdefault((method.name, str(getattr(method, "settings", ""))), method)

    return [[method_for(wanted, data) for wanted in methods] for data in datasets]


def _keep(task: Task, tas: Segmenter, created: str) -> Path:
    samples, scores = task.tables.frames()
    record = make_record(
        task.dataset,
        tas.preset,
        str(tas.device),
        samples,
        task.tables,
        created,
        task.name,
        task.settings,
    )
    return keep_run(task.folder, record, samples, scores)
