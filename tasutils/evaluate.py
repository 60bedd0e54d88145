"""The loop of an evaluation: describe each image once, refer to it with each of its sentences."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, product
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasutils import paths
from tasutils.config import Preset
from tasutils.controls import picks
from tasutils.datasets.sample import RefDataset, Sample
from tasutils.engines import counted
from tasutils.errors import TasError, one_line, refused
from tasutils.images import pixel_digest, read_image, require_annotated_size
from tasutils.language import SYNONYM_RULES
from tasutils.masks import intersection_union
from tasutils.metrics import METRIC_VERSION, iou
from tasutils.rectifier import RECTIFIERS
from tasutils.refer import (
    Answer,
    TasAnswer,
    cosine_scale,
    judge_phrases,
    parse_expression,
    readable,
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

# the columns of a run whose method scores no mask
_EMPTY = ["sample_id", "proposal", "term_v", "term_p", "term_n", "region", "yields",
          "intersection_px", "union_px", "gt_area_px"]  # fmt: skip
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
    scores: list[pd.DataFrame] = field(default_factory=list)
    wall_s: float = 0.0
    answer_s: float = 0.0
    times_s: Counter[str] = field(default_factory=Counter)
    n_described: int = 0

    @property
    def name(self) -> str:
        """Of the method."""
        return "tas" if self.method is None else self.method.name

    def add(
        self, sample: Sample, answer: Answer | str, truths: Mapping[str, Truth],
        picture: str = "", others: Columns | None = None, blind: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        """Score one sentence.

        answer: or why the sentence cannot be read; truths: from `truths_of`; picture: its
        `images.pixel_digest`; others: from `alternatives`; blind: from `controls.picks`.
        """
        import pandas as pd

        fields = asdict(sample)
        flags, nothing = fields.pop("flags"), fields.pop("ann_ids") == ()
        del fields["split"]
        chosen, reason, columns = _read(answer, self.name)
        inter, union = (pixels[:-1] for pixels in truths[""][1:])
        row = fields | {"chosen": chosen, "n_proposals": len(inter)}
        for prefix, truth in truths.items():
            for name, value in self._pixels(truth, answer, chosen, nothing).items():
                if not prefix or name.endswith("_px"):
                    row[f"{prefix}{name}"] = value
        row["rectified"] = isinstance(answer, TasAnswer) and bool(answer.rectified)
        row |= {"reason": reason, "image_digest": picture}
        _, inters, unions = truths[""]
        for who, k in (blind or {}).items():
            row |= {f"{who}_intersection_px": inters[k].item(), f"{who}_union_px": unions[k].item()}
        if nothing:
            row["no_target"] = True
        if isinstance(answer, Answer) and answer.own_mask is not None:
            row["own_mask"] = True
        self.samples.append(row | flags)
        if columns:
            self.scores.append(pd.DataFrame({
                "sample_id": sample.sample_id, "proposal": np.arange(len(inter)), **columns,
                **(others or {}), "intersection_px": inter, "union_px": union,
                "gt_area_px": truths[""].union_px[-1],
            }))  # fmt: skip

    def _pixels(
        self, truth: Truth, answer: Answer | str, place: int, nothing: bool
    ) -> dict[str, float]:
        """The columns of an answer and of the oracle; nothing: is an empty answer right."""
        mine = truth
        if isinstance(answer, Answer) and (answer.own_mask is not None or len(answer.chosen) > 1):
            mine, place = Truth.of(answer.mask()[None], truth.gt), 0
        found: dict[str, float] = {}
        for who, (gt, inter, union) in (("", mine), ("oracle_", truth)):
            ious = union if gt is None else iou(inter, union, self.epsilon, nothing)
            k = int(np.argmax(ious)) if who else place
            found |= {f"{who}intersection_px": inter[k].item(), f"{who}union_px": union[k].item()}
            found[f"{who}iou"] = float(ious[k])
            found.setdefault("gt_area_px", union[-1].item())
        return found

    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Both tables."""
        import pandas as pd

        samples, scores = pd.DataFrame(self.samples), pd.DataFrame(columns=_EMPTY)
        for column in {"no_target", "own_mask"} & set(samples):
            samples[column] = samples[column].eq(True)
        if self.scores:
            scores = pd.concat(self.scores, ignore_index=True)
        return samples, scores.drop(columns=list(_idle(scores)))


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
    said = "; ".join([reason, *answer.notes])
    return first, said, {} if total is None else {"score": total}


def _idle(scores: pd.DataFrame) -> Iterator[str]:
    """The columns of alternatives that say what the run's own do, or nothing."""
    alternative = re.compile(rf"alt_(.+)_({'|'.join(SYNONYM_RULES)})")
    found = [match for name in scores if (match := alternative.fullmatch(str(name)))]
    for rule in SYNONYM_RULES:
        mine = {match[0]: f"term_{match[1]}" for match in found if match[2] == rule}
        same = [name for name, own in mine.items() if scores[name].equals(scores[own])]
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
    from tasutils.baselines import make_method

    created = datetime.now(UTC).isoformat(timespec="seconds")
    tasks: list[Task] = []
    made: dict[tuple[str, str], Method] = {}  # those with equal settings share what they keep
    places: dict[Path, list[tuple[Task, str]]] = {}
    with ExitStack() as stack:
        for data, wanted in product(datasets, methods):
            method = None
            if wanted != "tas":
                method = make_method(wanted, tas, data.name) if isinstance(wanted, str) else wanted
                key = method.name, str(getattr(method, "settings", ""))
                method = made.setdefault(key, method)
            folder = stack.enter_context(run_folder(Path(out or paths.RESULTS)))
            used = dict(list(data.by_image().items())[:limit_images])
            tasks.append(Task(data, method, folder, used, tas.preset.metrics.epsilon))
            for image_id in used:
                places.setdefault(data.image_path(image_id), []).append((tasks[-1], image_id))
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


def _answer_image(
    path: Path, here: list[tuple[Task, str]], tas: TAS, store: SceneStore | None, keep_masks: bool
) -> None:
    """Answer all sentences about one image in all tasks that have it."""
    start = perf_counter()
    scene, image = _scene(path, here, tas, store)
    here[0][0].wall_s += perf_counter() - start
    masks, picture = scene.proposals.masks(), pixel_digest(image)
    known: dict[tuple[str, str], tuple[dict[str, Truth], dict[str, int]]] = {}  # of each sentence
    for task, image_id in here:
        start, samples = perf_counter(), task.used[image_id]
        answers = _answers(task, samples, scene, image, tas)
        task.answer_s += perf_counter() - start
        for sample, answer in zip(samples, answers, strict=True):
            key = (task.dataset.name, sample.sample_id)
            if key not in known:
                truths = truths_of(masks, task.dataset, sample)
                known[key] = truths, picks(scene, sample.sample_id)
            others = None
            if isinstance(answer, TasAnswer) and tas.preset.decide is None:
                others = alternatives(answer, tas)
            truths, blind = known[key]
            task.add(sample, answer, truths, picture, others, blind)
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
        task.times_s.update(scene.times_s)
        if store is not None:
            store.put(key, scene)
    return scene, image


def _answers(
    task: Task, samples: list[Sample], scene: Scene, image: NDArray[np.uint8], tas: TAS
) -> list[Answer | str]:
    """What the task's method says of each sentence about one image, or why it cannot be read."""
    raw = getattr(task.method, "field", tas.preset.language.field) == "raw"
    texts = [sample.raw if raw else sample.text for sample in samples]
    faults = [_fault(text) for text in texts]  # such count like one without proposals
    good = [text for text, fault in zip(texts, faults, strict=True) if not fault]
    answers: Iterable[Answer]
    if task.method is None:
        answers = [tas.refer(scene, text, dataset=task.dataset.name) for text in good]
    else:
        from tasutils.baselines import answers_of

        read = [parse_expression(text, tas.language, tas.preset) for text in good]
        answers = answers_of(task.method, scene, read, image)
    rest = iter(answers)
    return [fault or next(rest) for fault in faults]


def _fault(sentence: str) -> str:
    """Why no method can read a sentence; empty where it can."""
    try:
        readable(sentence)
    except TasError as error:
        return str(error).partition(";")[0]
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
    with refused(f"{folder}: a mask cannot be written", "make room"):
        folder.mkdir(exist_ok=True)
        file = folder / f"{paths.name_part(sample_id)}.png"
        Image.fromarray(answer.mask().astype("uint8") * 255).save(file, "PNG")


def known_facts(dataset: RefDataset, method: Method | None, tas: TAS) -> dict[str, Any]:
    """What the record of a run says and is known before the work, by its fields."""
    preset, name = tas.preset, "tas" if method is None else method.name
    switches = dict(getattr(method, "settings", {}))  # none of TAS, whose preset has them
    commit, dirty = git_state(paths.ROOT)
    return {
        "preset": preset.name, "method": name, "method_settings": switches,
        "config": preset.model_dump(mode="json"), "config_digest": preset.digest(),
        "weights": preset.weights(dataset.name), "dataset": dataset.name, "split": dataset.split,
        "split_by": dataset.split_by, "index_digest": dataset.index_digest,
        "n_total": len(dataset), "n_images_total": len(dataset.image_ids),
        "models": model_files(preset, name, switches), "versions": library_versions(),
        "git_commit": commit, "git_dirty": dirty, "device": str(tas.device), "dtype": "float32",
        "seeds": SEEDS, "metric_version": METRIC_VERSION,
    }  # fmt: skip


def _keep(task: Task, tas: TAS, created: str) -> Path:
    """Write the run of a task that is done."""
    samples, scores = task.frames()
    n_images = samples["image_id"].nunique()
    record = RunRecord(
        **known_facts(task.dataset, task.method, tas), run_id="", created=created,
        pictures_digest=pictures_digest(samples), n_used=len(samples), n_images=n_images,
        n_without_proposals=int((samples["n_proposals"] == 0).sum()),
        n_without_mask=int(samples["gt_area_px"].isna().sum()),
        partial=n_images < len(task.dataset.image_ids), wall_s=round(task.wall_s, 3),
        answer_s=round(task.answer_s, 3),
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
    newest = {
        (run.family, run.split): run
        for run in list_runs(out)
        if (run.record.preset, run.record.method) == (preset, "tas")
    }
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
    for run in reversed(list_runs(out / aside)):
        r = run.record
        here = (r.dataset, r.split, r.index_digest, r.method, r.config_digest)
        if here == facts and r.n_images >= wanted:
            return run
    store, out = SceneStore(out / "scenes"), out / aside
    options = {"limit_images": limit, "store": store, "progress": progress, "out": out}
    return read_run(evaluate(dataset, tas, **options))
