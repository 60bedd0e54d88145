"""The report: evaluate, run the notebooks, and write one page to browse, without a network."""

from __future__ import annotations

import base64
import logging
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from itertools import chain, count, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from tasutils import paths
from tasutils.config import Preset, load_preset
from tasutils.datasets import RefDataset, dataset, group, load_dataset
from tasutils.errors import TasError
from tasutils.notebooks import TEMPLATES, notebook_parameters, run_notebook, title_of
from tasutils.runs import Run, cores, git_state, list_runs, read_run, run_folder
from tasutils.store import SceneStore
from tasutils.tables import percent, scope_note

if TYPE_CHECKING:
    from pandas import DataFrame

    from tasutils.show import Picture

LIGHT_BYTES = 1 << 30  # of weights, up to which two notebooks at a time fit into any memory
ALONE = "10"  # measures seconds, so nothing may run beside it
DRAWN_PICTURE = {"data": "refscenes val", "number": 5, "sentence": "the dog on the right"}
EXAMPLES = {"right": 4, "wrong": 4, "moved": 3, "unproposed": 1}
TOOLS = ("jupyterlab", "ipykernel", "ipywidgets", "nbformat", "nbconvert", "papermill",
         "matplotlib", "pillow", "scipy", "timm", "scikit-image")  # fmt: skip


@dataclass
class Book:
    """A notebook of the report: its parameters or why it is left out, and what became of it."""

    name: str
    title: str
    left_out: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""
    ran: bool = False


@dataclass
class Report:
    """What a report is about, and what became of it."""

    preset: Preset
    place: str  # its name, or the path of its file, for notebooks
    data: list[RefDataset]  # splits, those of one name one after the other
    chief: str  # what notebooks look at, such as "refscenes val"
    limit: int | None  # images of each split, but of photos7 beside RefScenes
    books: list[Book] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    reused: set[str] = field(default_factory=set)  # ids of runs
    workers: int = 1  # notebooks at a time
    page: Path = Path()
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def names(self) -> list[str]:
        """Names of the data sets, each once."""
        return list(dict.fromkeys(data.name for data in self.data))

    @property
    def world(self) -> bool:
        """Whether RefScenes is among them."""
        return not set(self.names).isdisjoint(group("refscenes"))

    @property
    def failed(self) -> dict[str, str]:
        """The errors of the notebooks that failed, by their names."""
        return {book.name: book.error for book in self.books if book.error}


def build_report(
    limit_images: int | None = 40, splits: Sequence[str] | None = None,
    preset: str | Path | None = None, out: Path | str | None = None, *,
    families: Sequence[str] | None = None, only: str = "",
) -> Report:  # fmt: skip
    """Evaluate data sets, run the numbered notebooks, and write a page over all of it.

    None stands for all images (`photos7` beside RefScenes is always whole); for all splits, or the
    first where images are limited; for the preset that fits the data; for `paths.RESULTS`; for the
    families of RefScenes, with a preset for photographs `photos7` before them. only: numbers of
    notebooks, such as "01,05"; empty: all that suit.

    Its `page` is index.html, self-contained. A notebook that fails does not stop the others. The
    folder appears whole or not at all; of a report that is ended, the notebooks that have run are
    kept in one named `_unfinished`. TasError: what is unknown, known before any work, or missing.
    """
    from tasutils.study import study_tables

    report = plan(limit_images, splits, preset, families, only)
    results = paths.RESULTS if out is None else Path(out).resolve()
    with run_folder(results) as folder:
        _evaluate(report, results)
        report.workers = at_once(report.preset, report.runs[0].record.device)
        books = [book for book in report.books if not book.left_out]
        for book in books:
            book.parameters = _parameters(book, report, results)
        name = _name(report)
        try:
            run_all(books, folder, report.workers)
            print("writing the page", file=sys.stderr)
            tables = study_tables(report.runs)
            for title, table in tables.items():
                table.to_csv(folder / f"{title}.csv", index=False)
            (folder / "runs").mkdir()
            for run in report.runs:
                copy = folder / "runs" / f"{run.record.run_id}.json"
                shutil.copyfile(run.folder / "run.json", copy)
            html = page(report, tables, folder)
            (folder / "index.html").write_text(html, encoding="utf-8")
        except BaseException:
            done = {f"{b.name}.{kind}" for b in books if b.ran for kind in ("html", "ipynb")}
            for path in folder.iterdir():
                if path.name not in done:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            if done:
                kept = _keep(folder, results / f"{name}_unfinished")
                print(f"the notebooks that have run are kept in {kept}", file=sys.stderr)
            raise
        report.page = _keep(folder, results / name) / "index.html"
    return report


def plan(
    limit: int | None, splits: Sequence[str] | None = None, preset: str | Path | None = None,
    families: Sequence[str] | None = None, only: str = "",
) -> Report:  # fmt: skip
    """Preset, data and notebooks of a report; sentences without ground truth are a mistake too."""
    books, families = _books(only), list(families or group("refscenes"))
    if "own" in families:
        raise TasError("there is no report on own data; `tas evaluate own FILE` writes its run")
    entry = dataset(families[0])
    if preset is None:
        first = next(iter([*(splits or ()), *entry.drawn]), "")
        preset = entry.preset(first)
    chosen = load_preset(preset)
    suit = [s for s in entry.splits if (s in entry.drawn) != chosen.photographs] or entry.splits
    wanted = list(splits or (suit if limit is None else suit[:1]))
    data = [load_dataset(name, split) for split in wanted for name in families]
    if chosen.photographs and set(families) == set(group("refscenes")):
        data.insert(0, load_dataset("photos7", "all"))
    for one in (one for one in data if one.without_mask):
        raise TasError(
            f"{one.name} {one.split}: {len(one.without_mask)} of {len(one)} sentences have no "
            "ground truth, so there is nothing to report on; `tas evaluate` answers them"
        )
    if chosen.encoder.kind != "openclip" or chosen.peer_encoder is None:
        towers = "its methods look inside CLIP's two towers (encoder and peer_encoder), which"
        for book in books:
            if book.name.startswith("07"):
                book.left_out = book.left_out or f"{towers} preset {chosen.name} has not"
    place = str(Path(preset).resolve() if Path(preset).suffix else preset)
    return Report(chosen, place, data, f"{families[0]} {wanted[0]}", limit, books)


def _books(only: str) -> list[Book]:
    """The numbered notebooks in their order; those that `only`, such as "01,05", omits say so."""
    import nbformat

    found = {path.name[:2]: path for path in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    wanted = [number.zfill(2) for number in only.replace(" ", "").split(",") if number]
    for number in wanted:
        if number not in found:
            raise TasError(f"no notebook {number!r} for --only; there are {', '.join(found)}")
    return [
        Book(
            path.stem, title_of(nbformat.read(path, as_version=4), path.stem),
            "--only does not name it" if wanted and number not in wanted else "",
        )
        for number, path in found.items()
    ]  # fmt: skip


def _evaluate(report: Report, results: Path) -> None:
    """Fill in the runs; one of the same commit, settings, data and images is taken as it is."""
    from tasutils.evaluate import evaluate_all
    from tasutils.tas import load

    commit, dirty = git_state(paths.ROOT)
    there = {
        (r.dataset, r.split, r.index_digest, r.config_digest, r.n_images, r.git_commit): run
        for run in list_runs(results)
        if not (dirty or (r := run.record).git_dirty) and r.method == "tas"
    }
    tas, store, runs = load(report.preset), SceneStore(results / "scenes"), {}
    for _, same_split in groupby(report.data, key=lambda data: data.split):
        todo = []
        for data in same_split:
            extra = data.name == "photos7" and not report.chief.startswith("photos7")
            limit = None if extra else report.limit
            n = min(limit or len(data.image_ids), len(data.by_image()))
            same = (data.name, data.split, data.index_digest, report.preset.digest(), n, commit)
            if same in there:
                runs[data.name, data.split] = there[same]
                report.reused.add(there[same].record.run_id)
            else:
                todo.append(data)
        made = evaluate_all(todo, tas, limit_images=limit, store=store, out=results) if todo else []
        runs |= {(d.name, d.split): read_run(run) for d, run in zip(todo, made, strict=True)}
    if n := len(report.reused):
        print(f"{n} of {len(runs)} runs are there and reused", file=sys.stderr)
    report.runs = [runs[data.name, data.split] for data in report.data]


def _parameters(book: Book, report: Report, results: Path) -> dict[str, Any]:
    """Preset, data, limit (the smaller one), runs and results, as far as a notebook has them."""
    known = notebook_parameters(paths.NOTEBOOKS / f"{book.name}.ipynb")
    runs = ",".join(run.record.run_id for run in report.runs)
    given: dict[str, Any] = {"preset": report.place, "data": report.chief, "runs": runs}
    if results != paths.RESULTS:
        given["results"] = str(results)
    if {"data", "number", "sentence"} <= set(known):
        first = report.data[0]
        if first.name == "photos7":
            del given["data"]  # it keeps its own picture, of that
        elif report.chief == DRAWN_PICTURE["data"]:
            given |= DRAWN_PICTURE
        else:
            given |= {"number": 0, "sentence": first.samples[0].raw}
    if "limit" in known:
        data = next(d for d in report.data if f"{d.name} {d.split}" == report.chief)
        whole = len(data.image_ids)
        given["limit"] = min(known["limit"] or whole, report.limit) if report.limit else whole
    return {name: value for name, value in given.items() if name in known}


def at_once(preset: Preset, device: str) -> int:
    """How many notebooks run at a time: two on two cores, unless one fills the machine."""
    files = (file for path in preset.weight_paths().values() for file in (path, *path.rglob("*")))
    light = sum(file.stat().st_size for file in files if file.is_file()) <= LIGHT_BYTES
    return 2 if device == "cpu" and light and cores() > 1 else 1


def run_all(books: Sequence[Book], folder: Path, workers: int) -> None:
    """Run notebooks into a folder, so many at a time, with a thread each; `ALONE` by itself."""
    import psutil  # type: ignore[import-untyped]

    for name in ("papermill", "traitlets", "asyncio"):  # they tell of kernels that were ended
        logging.getLogger(name).setLevel(logging.CRITICAL)
    together = [book for book in books if workers > 1 and not book.name.startswith(ALONE)]
    alone = [book for book in books if book not in together]
    for some, n, threads in ((together, workers, 1), (alone, 1, None)):
        pool = ThreadPoolExecutor(n)
        running = [pool.submit(_run, book, folder, threads) for book in some]
        try:
            for future in as_completed(running):
                future.result()
        except BaseException:
            ran = {book.name for book in some if book.ran}
            pool.shutdown(wait=False, cancel_futures=True)
            while wait(running, timeout=0.2).not_done:  # they wait for their kernels
                for child in psutil.Process().children():
                    with suppress(psutil.Error):
                        if "ipykernel_launcher" in child.cmdline():
                            child.kill()
            for book in some:
                book.ran = book.name in ran
            raise
        pool.shutdown()


def _run(book: Book, folder: Path, threads: int | None) -> None:
    print(f"notebook {book.name} ...", file=sys.stderr, flush=True)
    start = time.perf_counter()
    try:
        run_notebook(book.name, book.parameters, folder, threads=threads, home="index.html")
    except (TasError, RuntimeError, OSError) as failure:
        book.error = " ".join(str(failure).split())
    book.seconds, book.ran = time.perf_counter() - start, True
    end = f"FAILED: {book.error}" if book.error else f"{book.seconds:.0f} s"
    print(f"notebook {book.name}: {end}", file=sys.stderr, flush=True)


def _name(report: Report) -> str:
    """Such as `20261123-101500_report_tiny_partial40`; data but RefScenes's whole are named."""
    rest = [name for name in report.names if name != "photos7" or len(report.names) == 1]
    data = [] if set(rest) == set(group("refscenes")) else ["-".join(rest)]
    partial = any(run.record.partial for run in report.runs)
    limited = [f"partial{report.limit}"] if partial else []
    name = paths.name_part(report.preset.name.replace(" ", "-"), 50)
    return "_".join([f"{report.created:%Y%m%d-%H%M%S}", "report", *data, name, *limited])


def _keep(folder: Path, target: Path) -> Path:
    """Rename a finished folder; beside an earlier one of the same second it gets a number."""
    names = chain([target.name], (f"{target.name}-{k}" for k in count(2)))
    return folder.rename(next(p for p in map(target.with_name, names) if not p.exists()))


def page(report: Report, tables: Mapping[str, DataFrame], folder: Path) -> str:
    """The index.html of a report whose notebooks lie in `folder`; all text in it is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from tasutils.compare import TOLERANCE, close_calls

    records = [run.record for run in report.runs]
    close, n, _ = map(sum, zip(*map(close_calls, report.runs), strict=True))
    n_described = sum(record.n_described for record in records)
    stages = sorted({stage for record in records for stage in record.times_s})
    here = {str(d.metadata["Name"]).lower(): d.version for d in metadata.distributions()}
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("index.html.j2").render(
        report=report, preset=report.preset, records=records, scope=scope_note(report.runs),
        percent=percent, figures=list(_figures(tables, scope_note(report.runs))),
        pieces=_pieces(tables["contributions"]), cards=list(_cards(report.runs)),
        looks={book.name: _first_look(folder / f"{book.name}.ipynb") for book in report.books},
        model_cards=dict(_model_cards(report.preset)), close=close, n=n, tolerance=TOLERANCE,
        pace={s: sum(r.times_s.get(s, 0.0) for r in records) / max(n_described, 1) for s in stages},
        peaks={k: max(r.peak_memory_mib.get(k, 0) for r in records)
               for k in records[0].peak_memory_mib},
        n_described=n_described,
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        versions=records[0].versions | {name: here[name] for name in TOOLS if name in here},
    )  # fmt: skip


def _pieces(table: DataFrame) -> list[dict[Any, Any]]:
    """`study.contributions` with a row for each run and a column for each piece."""
    cells = [
        f"{percent(*ends, signed=True)}{' *' if ends[1] > 0 or ends[2] < 0 else ''} (n = {n})"
        if n else "–"
        for *ends, n in table[["mean", "low", "high", "n"]].itertuples(index=False)
    ]  # fmt: skip
    wide = table.assign(cell=cells).pivot_table(
        "cell", ["family", "split"], "piece", aggfunc="first", sort=False
    )
    return wide.fillna("–").reset_index().to_dict("records")


def _figures(tables: Mapping[str, DataFrame], note: str) -> Iterator[dict[str, str]]:
    from tasutils import charts

    caption = "mIoU of the variants, each without and with the rectifier, beside the oracle"
    yield _figure(charts.ablation_plot(tables["ablation"], note=note), f"{caption}; {note}")
    if len(tables["breakdown"]):
        caption = "mIoU of the whole method by group of sentences, all families together"
        yield _figure(charts.interval_plot(tables["breakdown"], note=note), f"{caption}; {note}")


def _figure(picture: Picture, caption: str, **more: str) -> dict[str, str]:
    kind, data = picture.encoded()
    src = f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return {"src": src, "caption": caption} | more


def _cards(runs: Sequence[Run]) -> Iterator[dict[str, str]]:
    """Examples of each kind: runs take turns, and no picture comes twice."""
    from tasutils.gallery import Gallery
    from tasutils.show import draw_answer, picture_axes

    galleries, used = [Gallery(run) for run in runs], set[str]()
    for kind, wanted in EXAMPLES.items():
        for turn in range(wanted):
            order = galleries[turn % len(galleries) :] + galleries[: turn % len(galleries)]
            places = [(gallery, row) for gallery in order for row in gallery.rows(kind, 8)]
            fresh = [place for place in places if place[0].run.images[place[1]] not in used]
            for gallery, row in fresh[:1]:
                used.add(gallery.run.images[row])
                example = gallery.example(int(row))
                sentence = example.answer.expression.text
                figure, ax = picture_axes(example.image.shape[:2], 4.6, top_in=0.08, bottom_in=0.08)
                draw_answer(ax, *example[:3], ranks=1, stroke=0.75)
                yield _figure(figure, example.note, kind=kind, sentence=sentence)


def _first_look(notebook: Path) -> str:
    """The first picture that an executed notebook shows, as a data URI; "" without one."""
    import nbformat

    cells = nbformat.read(notebook, 4).cells if notebook.is_file() else []
    for output in chain.from_iterable(cell.get("outputs", []) for cell in cells):
        for kind, data in output.get("data", {}).items():
            if kind in ("image/jpeg", "image/png"):
                return f"data:{kind};base64,{data}".replace("\n", "")
    return ""


def _model_cards(preset: Preset) -> Iterator[tuple[str, Markup]]:
    """The cards that lie beside the weights, as HTML; markup inside them is escaped."""
    import mistune

    render = mistune.create_markdown(escape=True, plugins=["table"])
    for folder in dict.fromkeys(path.parent for path in preset.weight_paths().values()):
        for card in sorted(folder.glob("*.md")):
            html = str(render(card.read_text(encoding="utf-8")))
            # the page has one first heading, its own
            yield card.stem, Markup(html.replace("<h1>", "<h3>").replace("</h1>", "</h3>"))
