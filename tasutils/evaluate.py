"""The loop of an evaluation: describe each image once, refer to it with each of its sentences."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tasutils import paths
from tasutils.config import Preset
from tasutils.datasets.sample import RefDataset, Sample
from tasutils.errors import TasError, one_line
from tasutils.images import pixel_digest, read_image, require_annotated_size
from tasutils.language import SYNONYM_RULES
from tasutils.masks import intersection_union
from tasutils.metrics import iou
from tasutils.provenance import peak_memory_mib
from tasutils.rectifier import RECTIFIERS
from tasutils.refer import (
    MAX_CHARACTERS,
    cosine_scale,
    judge_phrases,
    parse_expression,
    region,
    score_terms,
)
from tasutils.runs import (
    MASKS_FOLDER,
    Run,
    RunRecord,
    facts_of,
    keep_run,
    list_runs,
    metrics_of,
    pictures_digest,
    read_run,
    run_folder,
)

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.baselines import Method
    from tasutils.refer import Answer, TasAnswer
    from tasutils.scene import Scene
    from tasutils.store import SceneStore
    from tasutils.tas import TAS

_SAID_S = 10.0  # between two lines of progress where there is no terminal
_EMPTY = ("sample_id", "term_v", "term_p", "term_n", "region", "yields", "intersection_px",
          "union_px", "gt_area_px")  # fmt: skip
Masks = NDArray[np.bool_]
T = TypeVar("T")


class Overlaps(NamedTuple):
    """n masks against one ground truth gt: int64 (n,) px and its area; NaN where there is none."""

    intersection_px: NDArray[np.generic]
    union_px: NDArray[np.generic]
    gt_area_px: float
    gt: Masks | None

    @classmethod
    def of(cls, masks: Masks, gt: Masks | None) -> Overlaps:
        """Of bool (n, H, W) with bool (H, W), or with None for no ground truth."""
        if gt is None:
            nothing = np.full(len(masks), np.nan)
            return cls(nothing, nothing, np.nan, None)
        return cls(*intersection_union(masks, gt), int(np.count_nonzero(gt)), gt)

    def pixels(self, place: int) -> tuple[float, float]:
        """Intersection and union of one mask, of none with -1."""
        if np.isnan(self.gt_area_px):
            return np.nan, np.nan
        if place < 0:
            return 0, self.gt_area_px
        return self.intersection_px[place].item(), self.union_px[place].item()


@dataclass(frozen=True, eq=False)
class Choice:
    """What a method says of a sentence, as the tables hold it.

    chosen: indices of masks; columns: its numbers by mask, none for a sentence that cannot be
    read; own_mask: bool (H, W), of a method that drew it.
    """

    chosen: tuple[int, ...]
    reason: str
    rectified: bool = False
    columns: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    own_mask: Masks | None = None

    @classmethod
    def of_answer(
        cls, answer: TasAnswer, others: Mapping[str, NDArray[np.generic]] | None = None
    ) -> Choice:
        """The choice of TAS, with its terms, region and yields; others: from `alternatives`."""
        columns: dict[str, NDArray[np.generic]] = {
            **{f"term_{name}": term for name, term in answer.terms.items()},
            "region": answer.in_region,
            "yields": answer.yields,
            **(others or {}),
        }
        return cls(answer.chosen, answer.reason, bool(answer.rectified), columns)

    @classmethod
    def of_peer(cls, name: str, answer: Answer) -> Choice:
        """The choice of a peer, with the scores that it gave masks, if it did."""
        total, chosen = answer.total, answer.chosen
        columns = {} if total is None else {"score": total}
        if answer.own_mask is not None:
            return cls(chosen, f"a mask of {name}'s own", columns=columns, own_mask=answer.mask())
        reason = f"{name} chooses {len(chosen)} of the masks"
        if not len(answer.scene.proposals):
            reason = "no mask was proposed"
        elif total is not None and len(chosen) == 1:
            reason = f"mask {chosen[0]} has the highest score of {name}: {total[chosen[0]]:.4g}"
        return cls(chosen, reason, columns=columns)

    def mask(self, proposals: Masks) -> Masks | None:
        """The mask of the answer, bool (H, W), of bool (n, H, W); None for no answer."""
        if self.own_mask is not None or not self.chosen:
            return self.own_mask
        return np.asarray(proposals[list(self.chosen)].any(axis=0), np.bool_)


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

    def add(
        self, sample: Sample, proposals: Masks, truths: dict[str, Overlaps], choice: Choice,
        picture: str = "",
    ) -> None:  # fmt: skip
        """Score one sentence; truths: from `overlaps_of`; picture: its `images.pixel_digest`."""
        fields = asdict(sample)
        flags, _, ids = fields.pop("flags"), fields.pop("split"), fields.pop("ann_ids", None)
        row: dict[str, Any] = {
            "chosen": choice.chosen[0] if choice.chosen else -1, "n_proposals": len(proposals),
        }  # fmt: skip
        for prefix, found in truths.items():
            row |= self._pixels(prefix, found, proposals, choice, ids == ())
        row |= {"rectified": choice.rectified, "reason": choice.reason, "image_digest": picture}
        if ids == ():
            row["no_target"] = True
        if choice.own_mask is not None:
            row["own_mask"] = True
        self.samples.append(fields | row | flags)
        if choice.columns:
            found = truths[""]
            self.scores.append({
                "sample_id": sample.sample_id, **choice.columns,
                "intersection_px": found.intersection_px, "union_px": found.union_px,
                "gt_area_px": np.full(len(proposals), found.gt_area_px),
            })  # fmt: skip

    def _pixels(
        self, prefix: str, found: Overlaps, proposals: Masks, choice: Choice, nothing: bool
    ) -> dict[str, float]:
        """The columns of an answer and of the oracle; nothing: is an empty answer right."""
        own = found.pixels(choice.chosen[0] if choice.chosen else -1)
        mask = choice.mask(proposals)
        if mask is not None and (choice.own_mask is not None or len(choice.chosen) > 1):
            own = Overlaps.of(mask[None], found.gt).pixels(0)
        values = iou(found.intersection_px, found.union_px, self.epsilon)
        best = found.pixels(int(np.argmax(values)) if len(values) and not nothing else -1)

        def value(pixels: tuple[float, float]) -> float:
            if np.isnan(found.gt_area_px):
                return np.nan
            return float(iou(*pixels, self.epsilon, nothing))

        columns = {
            "intersection_px": own[0], "union_px": own[1], "iou": value(own),
            "gt_area_px": found.gt_area_px, "oracle_intersection_px": best[0],
            "oracle_union_px": best[1], "oracle_iou": value(best),
        }  # fmt: skip
        return {
            f"{prefix}{name}": x for name, x in columns.items() if not (prefix and "iou" in name)
        }

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

    An image is described once, and a method computes once what it needs of it.

    Args:
        datasets: one split each; see `tasutils.datasets`.
        tas: the preset at work, from `tasutils.load`; its proposals are what all methods choose
            among, and weights are the preset's for the name of the data set.
        methods: names of `baselines.METHODS`, or methods of your own.
        limit_images: only the first so many images of each data set; its run is marked partial.
        store: where described scenes are kept and read back. An evaluation that is ended goes on
            from them; one that is killed loses those of the last seconds.
        progress: whether stderr shows the count of images: a bar, or lines where it is no terminal.
        out: folder of runs; `paths.RESULTS` when None.
        masks: whether to write the chosen masks as `masks/<sample_id>.png`, 0 or 255, the form in
            which PhraseCut's own evaluator reads predictions.

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
        for path in counted(list(places), label, progress):
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


def counted(items: Sequence[T], label: str, show: bool = True) -> Iterable[T]:
    """The images one by one, counted on stderr: a bar, or lines where it is no terminal."""
    if not show or sys.stderr.isatty():
        from tqdm import tqdm

        return tqdm(items, desc=label, unit="image", disable=not show)
    return _counted_in_lines(items, label)


def _counted_in_lines(items: Sequence[T], label: str) -> Iterator[T]:
    said = monotonic()
    for k, item in enumerate(items, start=1):
        yield item
        if k == len(items) or monotonic() - said > _SAID_S:
            said = monotonic()
            print(f"{label}: {k}/{len(items)} images", file=sys.stderr, flush=True)


def _make(
    methods: Sequence[str | Method], tas: TAS, datasets: Sequence[RefDataset]
) -> list[list[Method | None]]:
    """The methods of each data set; those with equal settings are one, and share what they keep."""
    from tasutils.baselines import make_method

    made: dict[tuple[str, str], Method | None] = {}

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
    proposals, picture = scene.proposals.masks(), pixel_digest(image)
    truths: dict[tuple[str, str], dict[str, Overlaps]] = {}
    for task, image_id in here:
        start = perf_counter()
        task.dtype, samples = str(scene.crop_embeddings.dtype), task.used[image_id]
        choices = _choices(task, samples, scene, image, tas)
        task.answer_s += perf_counter() - start
        for sample, choice in zip(samples, choices, strict=True):
            key = (task.dataset.name, sample.sample_id)
            if key not in truths:
                truths[key] = overlaps_of(proposals, task.dataset, sample)
            task.add(sample, proposals, truths[key], choice, picture)
            if keep_masks and (mask := choice.mask(proposals)) is not None:
                _write_mask(task.folder / MASKS_FOLDER, sample.sample_id, mask)
        task.wall_s += perf_counter() - start


def overlaps_of(proposals: Masks, dataset: RefDataset, sample: Sample) -> dict[str, Overlaps]:
    """Masks against a sample's truth; as "refer_" by REFER's overlap rule where that may differ."""
    if sample.sample_id in dataset.without_mask:
        return {"": Overlaps.of(proposals, None)}
    found = {"": Overlaps.of(proposals, dataset.gt_mask(sample))}
    if dataset.refer_truth is not None:
        other = dataset.refer_truth(sample)
        found["refer_"] = found[""] if other is None else Overlaps.of(proposals, other)
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


def _choices(
    task: Task, samples: list[Sample], scene: Scene, image: NDArray[np.uint8], tas: TAS
) -> list[Choice]:
    """What the task's method says of each sentence about one image."""
    raw = getattr(task.method, "field", tas.preset.language.field) == "raw"
    texts = [sample.raw if raw else sample.text for sample in samples]
    faults = [unreadable(text) for text in texts]  # such count like one without proposals
    readable = [text for text, fault in zip(texts, faults, strict=True) if not fault]
    if task.method is None:
        found = [_choice(task, scene, text, tas) for text in readable]
    else:
        from tasutils.baselines import answers_of

        read = [parse_expression(text, tas.language, tas.preset) for text in readable]
        answers = answers_of(task.method, scene, read, image)
        found = [Choice.of_peer(task.method.name, answer) for answer in answers]
    rest = iter(found)
    return [Choice((), fault) if fault else next(rest) for fault in faults]


def _choice(task: Task, scene: Scene, text: str, tas: TAS) -> Choice:
    """What TAS chooses, with what other rules and forms would have it choose from."""
    answer = tas.refer(scene, text, dataset=task.dataset.name)
    start = perf_counter()
    others = alternatives(answer, text, tas)
    task.answer_s -= perf_counter() - start  # no answer needs it, only a sweep
    return Choice.of_answer(answer, others)


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


def alternatives(answer: TasAnswer, sentence: str, tas: TAS) -> dict[str, NDArray[np.generic]]:
    """What a sentence's scores would be under the other synonym rules and rectifier forms.

    `alt_<term>_<rule>`, float64 (n,), `region_<form>` and `yields_<form>`, bool (n,): what `refer`
    would find with that one setting changed, so that a sweep needs neither parser nor scene.
    """
    scene, preset = answer.scene, answer.preset
    kept = [candidate.index for candidate in answer.candidates if candidate.kept]
    scale = cosine_scale(tas.encoder, preset)
    columns: dict[str, NDArray[np.generic]] = {}
    for rule in SYNONYM_RULES:
        if rule == preset.language.synonym_rule:
            continue
        other = _with(preset, "language", synonym_rule=rule)
        judged = judge_phrases(scene, answer.expression, tas.language, other)
        now = [candidate.index for candidate in judged if candidate.kept]
        terms = answer.terms
        if now != kept:
            texts = replace(answer.texts, negatives=scene.phrase_embeddings[now])
            terms = score_terms(scene, answer.expression, texts, preset, terms, scale)
        columns |= {f"alt_{name}_{rule}": values for name, values in terms.items()}
    for form in RECTIFIERS:
        if form not in (preset.rectifier.form, "none"):
            other = _with(preset, "rectifier", form=form)
            inside, yields = region(scene, parse_expression(sentence, tas.language, other), other)
            columns |= {f"region_{form}": inside, f"yields_{form}": yields}
    return columns


def _with(preset: Preset, part: str, **changes: Any) -> Preset:
    """The preset with some settings of one part changed, all of them known to be valid."""
    changed = getattr(preset, part).model_copy(update=changes)
    return preset.model_copy(update={part: changed})


def _write_mask(folder: Path, sample_id: str, mask: Masks) -> None:
    """Write the mask of an answer, bool (H, W), as a PNG of 0 and 255."""
    from PIL import Image

    try:
        folder.mkdir(exist_ok=True)
        file = folder / f"{paths.name_part(sample_id)}.png"
        Image.fromarray(mask.astype("uint8") * 255).save(file, "PNG")
    except OSError as error:
        raise TasError(
            f"{folder}: a mask cannot be written ({error.strerror or error}); make room"
        ) from None


def _keep(task: Task, tas: TAS, created: str) -> Path:
    """Write the run of a task that is done."""
    samples, scores = task.frames()
    n_images = samples["image_id"].nunique()
    name = "tas" if task.method is None else task.method.name
    switches = dict(getattr(task.method, "settings", {}))  # none of TAS, whose preset has them
    record = RunRecord(
        run_id="", created=created, **facts_of(task.dataset, tas.preset, name, switches),
        weights=tas.preset.weights(task.dataset.name), pictures_digest=pictures_digest(samples),
        n_used=len(samples), n_images=n_images,
        n_without_proposals=int((samples["n_proposals"] == 0).sum()),
        n_without_mask=int(samples["gt_area_px"].isna().sum()),
        partial=n_images < len(task.dataset.image_ids), device=str(tas.device), dtype=task.dtype,
        wall_s=round(task.wall_s, 3), answer_s=round(task.answer_s, 3),
        times_s={stage: round(seconds, 3) for stage, seconds in task.times_s.items()},
        n_described=task.n_described, peak_memory_mib=peak_memory_mib(),
        metrics=metrics_of(samples, task.epsilon), tables={},
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

    data: data set and split, such as "refscenes val", or the split itself; tas: from
    `tasutils.load`, only runs with its very settings count; limit: pictures that the run must have,
    if the split has so many, None: the whole split; results: the folder of the runs and, in
    `scenes`, of described pictures, `paths.RESULTS` when empty; aside: a folder in `results` for
    runs that only one study needs. TasError: no such data set or split, missing weights, or an
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
