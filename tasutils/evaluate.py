"""The loop of an evaluation: describe each image once, refer to it with each of its sentences."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasutils import paths
from tasutils.config import Preset
from tasutils.datasets.sample import RefDataset, Sample
from tasutils.engines import counted
from tasutils.errors import TasError, one_line
from tasutils.images import pixel_digest, read_image, require_annotated_size
from tasutils.language import SYNONYM_RULES
from tasutils.masks import intersection_union
from tasutils.metrics import METRIC_VERSION, iou
from tasutils.rectifier import RECTIFIERS
from tasutils.refer import (
    MAX_CHARACTERS,
    Answer,
    TasAnswer,
    cosine_scale,
    judge_phrases,
    parse_expression,
    region,
    score_terms,
)
from tasutils.runs import (
    MASKS_FOLDER,
    SEEDS,
    Run,
    RunRecord,
    git_state,
    keep_run,
    library_versions,
    list_runs,
    metrics_of,
    model_files,
    peak_memory_mib,
    pictures_digest,
    read_run,
    run_folder,
)

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.baselines import Method
    from tasutils.scene import Scene
    from tasutils.store import SceneStore
    from tasutils.tas import TAS

_EMPTY = ("sample_id", "term_v", "term_p", "term_n", "region", "yields", "intersection_px",
          "union_px", "gt_area_px")  # fmt: skip
Masks = NDArray[np.bool_]
Columns = dict[str, NDArray[np.generic]]


class Truth(NamedTuple):
    """A sentence's ground truth, bool (H, W) or None, and the pixels of n masks and of no mask.

    intersection_px, union_px: (n + 1,), the last of an empty answer; NaN where there is no truth.
    """

    gt: Masks | None
    intersection_px: NDArray[np.generic]
    union_px: NDArray[np.generic]

    @classmethod
    def of(cls, masks: Masks, gt: Masks | None) -> Truth:
        """Of masks, bool (n, H, W)."""
        if gt is None:
            nothing = np.full(len(masks) + 1, np.nan)
            return cls(None, nothing, nothing)
        inter, union = intersection_union(masks, gt)
        return cls(gt, np.append(inter, 0), np.append(union, np.count_nonzero(gt)))


@dataclass
class Task:
    """One run in the making: a data set, the method that answers (None: TAS), its rows and times.

    used: the samples of the images that it uses, by image id; wall_s: spent on the run; answer_s:
    of it, by the method on described scenes; times_s: of it, by stages of description.
    """

    dataset: RefDataset
    method: Method | None
    folder: Path
    used: dict[str, list[Sample]] = field(default_factory=dict)
    epsilon: float = 0.0
    samples: list[dict[str, Any]] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    wall_s: float = 0.0
    answer_s: float = 0.0
    times_s: dict[str, float] = field(default_factory=dict)
    n_described: int = 0
    dtype: str = "float32"

    @property
    def name(self) -> str:
        """Of the method."""
        return "tas" if self.method is None else self.method.name

    def add(
        self, sample: Sample, answer: Answer | str, truths: Mapping[str, Truth],
        picture: str = "", others: Columns | None = None,
    ) -> None:  # fmt: skip
        """Score one sentence.

        answer: or why the sentence cannot be read; truths: from `truths_of`; picture: its
        `images.pixel_digest`; others: from `alternatives`.
        """
        fields = asdict(sample)
        flags, _, ids = fields.pop("flags"), fields.pop("split"), fields.pop("ann_ids", None)
        chosen, reason, columns = _read(answer, self.name)
        inter, union = (pixels[:-1] for pixels in truths[""][1:])
        row: dict[str, Any] = {"chosen": chosen, "n_proposals": len(inter)}
        for prefix, truth in truths.items():
            row |= {f"{prefix}{k}": x for k, x in self._pixels(truth, answer, ids == ()).items()
                    if not (prefix and "iou" in k)}  # fmt: skip
        rectified = isinstance(answer, TasAnswer) and bool(answer.rectified)
        row |= {"rectified": rectified, "reason": reason, "image_digest": picture}
        if ids == ():
            row["no_target"] = True
        if isinstance(answer, Answer) and answer.own_mask is not None:
            row["own_mask"] = True
        self.samples.append(fields | row | flags)
        if columns:
            area = np.full(len(inter), truths[""].union_px[-1])
            columns |= (others or {}) | {"intersection_px": inter, "union_px": union}
            self.scores.append({"sample_id": sample.sample_id, **columns, "gt_area_px": area})

    def _pixels(self, truth: Truth, answer: Answer | str, nothing: bool) -> dict[str, float]:
        """The columns of an answer and of the oracle; nothing: is an empty answer right."""
        mine, place = truth, -1
        if isinstance(answer, Answer):
            place = answer.chosen[0] if answer.chosen else -1
            if answer.own_mask is not None or len(answer.chosen) > 1:
                mine, place = Truth.of(answer.mask()[None], truth.gt), 0
        best = int(np.argmax(self._ious(truth, nothing)))
        found = {"gt_area_px": truth.union_px[-1].item()}
        for who, (_, inter, union), k in (("", mine, place), ("oracle_", truth, best)):
            found |= {f"{who}intersection_px": inter[k].item(), f"{who}union_px": union[k].item()}
        value, oracle = self._ious(mine, nothing)[place], self._ious(truth, nothing)[best]
        found |= {"iou": float(value), "oracle_iou": float(oracle)}
        return {name: found[name] for name in _PIXELS}

    def _ious(self, truth: Truth, nothing: bool) -> NDArray[np.float64]:
        if truth.gt is None:
            return np.full(len(truth.union_px), np.nan)
        return iou(truth.intersection_px, truth.union_px, self.epsilon, nothing)

    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Both tables."""
        import pandas as pd

        counts = [len(row["union_px"]) for row in self.scores]
        names = list(self.scores[0] if self.scores else _EMPTY)[1:]
        columns: dict[str, Any] = {
            name: np.concatenate([row[name] for row in self.scores]) if counts else []
            for name in names
        }
        table = pd.DataFrame({
            "sample_id": np.repeat([row["sample_id"] for row in self.scores], counts),
            "proposal": np.concatenate([np.arange(0), *map(np.arange, counts)]), **columns,
        })  # fmt: skip
        samples = pd.DataFrame(self.samples)
        for column in {"no_target", "own_mask"} & set(samples):
            samples[column] = samples[column].eq(True)
        return samples, table.drop(columns=list(_idle(table)))


_PIXELS = ("intersection_px", "union_px", "iou", "gt_area_px", "oracle_intersection_px",
           "oracle_union_px", "oracle_iou")  # fmt: skip


def _read(answer: Answer | str, name: str) -> tuple[int, str, Columns]:
    """The first chosen mask, -1 for none, the reason, and the method's numbers by mask."""
    if isinstance(answer, str):
        return -1, answer, {}
    chosen, total = answer.chosen, answer.total
    first = chosen[0] if chosen else -1
    if isinstance(answer, TasAnswer):
        terms: Columns = {f"term_{name}": term for name, term in answer.terms.items()}
        return first, answer.reason, terms | {"region": answer.in_region, "yields": answer.yields}
    reason = f"{name} chooses {len(chosen)} of the masks"
    if answer.own_mask is not None:
        reason = f"a mask of {name}'s own"
    elif not len(answer.scene.proposals):
        reason = "no mask was proposed"
    elif total is not None and len(chosen) == 1:
        reason = f"mask {first} has the highest score of {name}: {total[first]:.4g}"
    return first, reason, {} if total is None else {"score": total}


def _idle(scores: pd.DataFrame) -> Iterator[str]:
    """The columns of alternatives that say what the run's own do, or nothing."""
    names = [str(name) for name in scores if str(name).startswith("alt_")]
    for rule in SYNONYM_RULES:
        mine = [name for name in names if name.endswith(f"_{rule}")]
        own = [f"term_{name[4 : -len(rule) - 1]}" for name in mine]
        same = [name for name, o in zip(mine, own, strict=True) if scores[name].equals(scores[o])]
        yield from same if len(same) < len(mine) else same[:-1]  # that it was tried stays known
    yield from (f"yields_{form}" for form in RECTIFIERS
                if f"yields_{form}" in scores and not scores[f"yields_{form}"].any())  # fmt: skip


def evaluate(dataset: RefDataset, tas: TAS, **options: Any) -> Path:
    """Answer every sentence of a data set with TAS and write the run; see `evaluate_all`."""
    (folder,) = evaluate_all([dataset], tas, **options)
    return folder


def evaluate_all(
    datasets: Sequence[RefDataset], tas: TAS, methods: Sequence[str | Method] = ("tas",), *,
    limit_images: int | None = None, store: SceneStore | None = None, progress: bool = True,
    out: Path | None = None, masks: bool = False,
) -> list[Path]:  # fmt: skip
    """Answer every sentence of data sets that share images by each method: one run for each pair.

    tas: its proposals are what all methods choose among, weights are the preset's for the data set;
    methods: names of `baselines.METHODS`, or methods of your own; limit_images: only the first so
    many images of each data set, its run is marked partial; store: where described scenes are kept
    and read back, one that is killed loses those of the last seconds; progress: whether stderr
    counts images; out: folder of runs, `paths.RESULTS` when None; masks: whether to write the
    chosen masks as `masks/<sample_id>.png`, 0 or 255, as PhraseCut's own evaluator reads them.

    Returns the runs' folders, for `runs.read_run`: all methods of the first data set, then of the
    next. TasError, with nothing left half-written: an image, an annotation or weights are missing
    or damaged, `out` cannot be written, a method is unknown, or `limit_images` is not positive.
    """
    if limit_images is not None and limit_images < 1:
        raise TasError(f"limit_images is {limit_images}; give a number from 1 on, or none")
    created = datetime.now(UTC).isoformat(timespec="seconds")
    out = Path(out or paths.RESULTS)
    with ExitStack() as stack:
        tasks = []
        for data, made in zip(datasets, _make(methods, tas, datasets), strict=True):
            used, epsilon = list(data.by_image().items())[:limit_images], tas.preset.metrics.epsilon
            for method in made:
                folder = stack.enter_context(run_folder(out))
                tasks.append(Task(data, method, folder, dict(used), epsilon))
        places: dict[Path, list[tuple[Task, str]]] = {}
        for task in tasks:
            for image_id in task.used:
                places.setdefault(task.dataset.image_path(image_id), []).append((task, image_id))
        label = " ".join(dict.fromkeys(f"{d.name} {d.split}" for d in datasets))
        if store is not None:
            stack.enter_context(store)
        for path in counted(places, label, len(places), progress):
            _answer_image(path, places[path], tas, store, masks)
        return [_keep(task, tas, created) for task in tasks]


def evaluate_families(
    families: Sequence[str], split: str, preset: Preset, *,
    methods: Sequence[str | Method] = ("tas",), out: Path | None = None, device: str | None = None,
    split_by: str | None = None, root: Path | None = None, images: Path | None = None,
    **options: Any,
) -> list[Path]:  # fmt: skip
    """Evaluate a preset on several data sets, by their names; scenes are kept in `<out>/scenes`.

    `split_by`, `root` and `images` as in `load_dataset`; the rest as in `evaluate_all`.
    """
    from tasutils.datasets import load_dataset
    from tasutils.store import SceneStore
    from tasutils.tas import load

    datasets = [load_dataset(family, split, split_by, root, images) for family in families]
    for note in chain.from_iterable(data.notes for data in datasets):
        print(f"note: {one_line(note)}", file=sys.stderr)
    out = Path(out or paths.RESULTS)
    tas, store = load(preset, device=device), SceneStore(out / "scenes")
    return evaluate_all(datasets, tas, methods, store=store, out=out, **options)


def _make(
    methods: Sequence[str | Method], tas: TAS, datasets: Sequence[RefDataset]
) -> list[list[Method | None]]:
    """The methods of each data set; those with equal settings are one, and share what they keep."""
    from tasutils.baselines import make_method

    made: dict[tuple[str, str], Method] = {}

    def method_for(wanted: str | Method, dataset: RefDataset) -> Method | None:
        if wanted == "tas":
            return None
        method = make_method(wanted, tas, dataset.name) if isinstance(wanted, str) else wanted
        return made.setdefault((method.name, str(getattr(method, "settings", ""))), method)

    return [[method_for(wanted, data) for wanted in methods] for data in datasets]


def _answer_image(
    path: Path, here: list[tuple[Task, str]], tas: TAS, store: SceneStore | None, keep_masks: bool
) -> None:
    """Answer all sentences about one image in all tasks that have it."""
    start = perf_counter()
    scene, image = _scene(path, here, tas, store)
    here[0][0].wall_s += perf_counter() - start
    masks, picture = scene.proposals.masks(), pixel_digest(image)
    truths: dict[tuple[str, str], dict[str, Truth]] = {}
    for task, image_id in here:
        start = perf_counter()
        task.dtype, samples = str(scene.crop_embeddings.dtype), task.used[image_id]
        answers = _answers(task, samples, scene, image, tas)
        task.answer_s += perf_counter() - start
        for sample, answer in zip(samples, answers, strict=True):
            key = (task.dataset.name, sample.sample_id)
            if key not in truths:
                truths[key] = truths_of(masks, task.dataset, sample)
            others = alternatives(answer, tas) if isinstance(answer, TasAnswer) else None
            task.add(sample, answer, truths[key], picture, others)
            if keep_masks and isinstance(answer, Answer):
                _write_mask(task.folder / MASKS_FOLDER, sample.sample_id, answer)
        task.wall_s += perf_counter() - start


def truths_of(masks: Masks, dataset: RefDataset, sample: Sample) -> dict[str, Truth]:
    """A sample's truth, and as "refer_" by REFER's overlap rule where that may differ."""
    if sample.sample_id in dataset.without_mask:
        return {"": Truth.of(masks, None)}
    found = {"": Truth.of(masks, dataset.gt_mask(sample))}
    if dataset.refer_truth is not None:
        other = dataset.refer_truth(sample)
        found["refer_"] = found[""] if other is None else Truth.of(masks, other)
    return found


def _scene(
    path: Path, here: list[tuple[Task, str]], tas: TAS, store: SceneStore | None
) -> tuple[Scene, NDArray[np.uint8]]:
    """The scene of an image, read from the store if it is there, else made and put there."""
    from tasutils.store import scene_key

    image = read_image(path)
    for task, image_id in here:
        require_annotated_size(path, image, task.dataset.size_hw(image_id))
    key = scene_key(image, tas.preset.describe_digest())
    scene = None if store is None else store.get(key)
    if scene is None:
        task, image_id = here[0]
        scene = tas.describe(image, image_id=image_id)
        task.n_described += 1
        for stage, seconds in scene.times_s.items():
            task.times_s[stage] = task.times_s.get(stage, 0.0) + seconds
        if store is not None:
            store.put(key, scene)
    return scene, image


def _answers(
    task: Task, samples: list[Sample], scene: Scene, image: NDArray[np.uint8], tas: TAS
) -> list[Answer | str]:
    """What the task's method says of each sentence about one image, or why it cannot be read."""
    raw = getattr(task.method, "field", tas.preset.language.field) == "raw"
    texts = [sample.raw if raw else sample.text for sample in samples]
    faults = [unreadable(text) for text in texts]  # such count like one without proposals
    readable = [text for text, fault in zip(texts, faults, strict=True) if not fault]
    answers: Sequence[Answer]
    if task.method is None:
        answers = [tas.refer(scene, text, dataset=task.dataset.name) for text in readable]
    else:
        from tasutils.baselines import answers_of

        read = [parse_expression(text, tas.language, tas.preset) for text in readable]
        answers = answers_of(task.method, scene, read, image)
    rest = iter(answers)
    return [fault or next(rest) for fault in faults]


def unreadable(sentence: str) -> str:
    """Why `refer` would refuse a sentence; empty if it would not.

    >>> unreadable("the dog"), unreadable(" ")
    ('', 'the sentence is empty')
    """
    if not any(unicodedata.category(character)[0] not in "ZC" for character in sentence):
        return "the sentence is empty"
    if len(sentence) > MAX_CHARACTERS:
        return f"the sentence is longer than {MAX_CHARACTERS} characters"
    return ""


def alternatives(answer: TasAnswer, tas: TAS) -> Columns:
    """What a sentence's scores would be under the other synonym rules and rectifier forms.

    `alt_<term>_<rule>`, float64 (n,), `region_<form>` and `yields_<form>`, bool (n,): what `refer`
    would find with that one setting changed, so that a sweep needs neither parser nor scene.
    """
    scene, preset, expression = answer.scene, answer.preset, answer.expression
    kept = [candidate.index for candidate in answer.candidates if candidate.kept]
    scale = cosine_scale(tas.encoder, preset)
    columns: Columns = {}

    def changed(part: str, **changes: Any) -> Preset:
        other = getattr(preset, part).model_copy(update=changes)
        return preset.model_copy(update={part: other})

    for rule in SYNONYM_RULES:
        if rule == preset.language.synonym_rule:
            continue
        other = changed("language", synonym_rule=rule)
        judged = judge_phrases(scene, expression, tas.language, other)
        now = [candidate.index for candidate in judged if candidate.kept]
        terms = answer.terms
        if now != kept:
            texts = replace(answer.texts, negatives=scene.phrase_embeddings[now])
            terms = score_terms(scene, expression, texts, preset, terms, scale)
        columns |= {f"alt_{name}_{rule}": values for name, values in terms.items()}
    for form in RECTIFIERS:
        if form not in (preset.rectifier.form, "none"):
            other = changed("rectifier", form=form)
            read = parse_expression(expression.text, tas.language, other)
            columns[f"region_{form}"], columns[f"yields_{form}"] = region(scene, read, other)
    return columns


def _write_mask(folder: Path, sample_id: str, answer: Answer) -> None:
    """Write the mask of an answer, if it has one, as a PNG of 0 and 255."""
    from PIL import Image

    if answer.own_mask is None and not answer.chosen:
        return
    try:
        folder.mkdir(exist_ok=True)
        file = folder / f"{paths.name_part(sample_id)}.png"
        Image.fromarray(answer.mask().astype("uint8") * 255).save(file, "PNG")
    except OSError as error:
        raise TasError(
            f"{folder}: a mask cannot be written ({error.strerror or error}); make room"
        ) from None


def _keep(task: Task, tas: TAS, created: str) -> Path:
    """Write the run of a task that is done."""
    samples, scores = task.frames()
    data, preset, n_images = task.dataset, tas.preset, samples["image_id"].nunique()
    switches = dict(getattr(task.method, "settings", {}))  # none of TAS, whose preset has them
    commit, dirty = git_state(paths.ROOT)
    record = RunRecord(
        run_id="", created=created, preset=preset.name, method=task.name, method_settings=switches,
        config=preset.model_dump(mode="json"), config_digest=preset.digest(),
        weights=preset.weights(data.name), dataset=data.name, split=data.split,
        split_by=data.split_by, index_digest=data.index_digest,
        pictures_digest=pictures_digest(samples), n_total=len(data), n_used=len(samples),
        n_images_total=len(data.image_ids), n_images=n_images,
        n_without_proposals=int((samples["n_proposals"] == 0).sum()),
        n_without_mask=int(samples["gt_area_px"].isna().sum()),
        partial=n_images < len(data.image_ids), models=model_files(preset, task.name, switches),
        versions=library_versions(), git_commit=commit, git_dirty=dirty, device=str(tas.device),
        dtype=task.dtype, seeds=SEEDS, wall_s=round(task.wall_s, 3),
        answer_s=round(task.answer_s, 3),
        times_s={stage: round(seconds, 3) for stage, seconds in task.times_s.items()},
        n_described=task.n_described, peak_memory_mib=peak_memory_mib(),
        metrics=metrics_of(samples, task.epsilon), metric_version=METRIC_VERSION, tables={},
    )  # fmt: skip
    return keep_run(task.folder, record, samples, scores)


# --- the newest run, or one made now ---


def newest_runs(out: Path | str, preset: str, names: str = "") -> list[Run]:
    """Open runs of TAS in a folder: those named, or the newest of each family and split.

    preset: name of the preset, where the newest runs are asked for; names: comma separated folder
    names. TasError where there is no such run, or none at all.
    """
    if names.strip():
        return [read_run(Path(out) / name.strip()) for name in names.split(",")]
    newest: dict[tuple[str, str], Run] = {}
    for run in sorted(list_runs(out), key=lambda run: run.record.created):
        if run.record.preset == preset and run.record.method == "tas":
            newest[run.record.dataset, run.record.split] = run
    if not newest:
        raise TasError(
            f"{out}: no run of preset {preset!r}; make one: tas evaluate refscenes val --limit 40"
        )
    return list(newest.values())


def run_of(
    data: str | RefDataset, tas: TAS, limit: int | None = None, results: Path | str = "", *,
    aside: str = "", progress: bool = True,
) -> Run:  # fmt: skip
    """The newest run of TAS over a split, or one made now over its first pictures and kept.

    data: data set and split, such as "refscenes val", or the split itself; tas: only runs with its
    very settings count; limit: pictures that the run must have, if there are so many, None: the
    whole split; results: the folder of the runs and of `scenes`, `paths.RESULTS` when empty; aside:
    a folder in it for runs that one study needs. TasError: no such split, missing weights, or an
    unwritable folder.
    """
    from tasutils.datasets import load_dataset
    from tasutils.store import SceneStore

    dataset = load_dataset(*data.split(" ", 1)) if isinstance(data, str) else data
    out = Path(results or paths.RESULTS)
    wanted = min(limit or len(dataset.by_image()), len(dataset.by_image()))
    facts = (dataset.name, dataset.split, dataset.index_digest, "tas", tas.preset.digest())
    for run in sorted(list_runs(out / aside), key=lambda run: run.record.created, reverse=True):
        r = run.record
        here = (r.dataset, r.split, r.index_digest, r.method, r.config_digest)
        if here == facts and r.n_images >= wanted:
            return run
    store, out = SceneStore(out / "scenes"), out / aside
    options = {"limit_images": limit, "store": store, "progress": progress, "out": out}
    return read_run(evaluate(dataset, tas, **options))
