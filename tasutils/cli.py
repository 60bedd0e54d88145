"""The command line `tas`. Heavy imports stay inside the commands, so that `tas --help` is quick.

Exit codes: 0 done; 1 a check failed; 2 a mistake, too little memory or a disk that refuses, told in
one line; 130 interrupted with ctrl-c, 143 terminated, as the system ends programs, what is done
kept; 141 the reader of the output has gone. A fault of the program itself keeps its traceback.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasutils.errors import TasError, one_line, printable

if TYPE_CHECKING:
    import numpy as np

    from tasutils.config import Preset
    from tasutils.models import PublishedModel
    from tasutils.refer import TasAnswer

SCHEMA = 1  # of answer.json
ANSWER_FILES = {"overlay.png", "mask.png", "answer.json"}
ROWS_SHOWN = 5
_MOST = 1000  # numbers of an axis


# --- how a command ends ---


def main(args: list[str] | None = None) -> int:
    """Run `tas` and return its exit code; `args` are the program's own when None."""
    # weights are files of this disk, and threads that wait should not spin
    for name, value in {
        "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false",
        "GOMP_SPINCOUNT": "0",
    }.items():  # fmt: skip
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a terminal that knows no emoji gets its code
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    stderr: Any = sys.stderr
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", "10")
        stderr = _Lines(sys.stderr)
    with redirect_stderr(stderr):
        code, message = _outcome(args)
        if message:
            print("tas:", one_line(" ".join(message.split())), file=sys.stderr)
    return code


def _outcome(args: list[str] | None) -> tuple[int, str]:
    """Exit code and, if something is wrong, a message."""
    usage_error: type[Exception] = next(
        c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"
    )
    try:
        code = app(args, prog_name="tas", standalone_mode=False)
        if sys.stdout is not None:  # `tas ... >&-`
            sys.stdout.flush()
    except SystemExit as end:  # what typer makes of a broken pipe
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        return 141, ""
    except TasError as error:
        return 2, str(error)
    except BrokenPipeError:  # `tas ... | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try again as it ends
        return 141, ""
    except OSError as error:  # a full disk, a folder that may not be written
        name = error.filename2 or error.filename or "file"  # of two the one that was written
        return 2, f"{name}: {error.strerror or error}"
    except (KeyboardInterrupt, typer.Abort):
        return 130, "interrupted"
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return 2, f"out of memory ({str(error)[:80] or 'of this machine'}); free some and try again"
    except usage_error as error:
        # without arguments the message is the help page
        message = error.format_message()  # type: ignore[attr-defined]
        if "\n" in message:
            print(message)
            return 2, ""
        return 2, f"{message.rstrip('.')}; `tas --help` lists what there is"
    code = code if isinstance(code, int) else 0
    return code, "interrupted" if code == 130 else ""


class _Lines:
    """Stderr that is no terminal: a progress bar gets a line now and then instead of a "\\r"."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text; what goes back to a line's begin goes on to the next one."""
        return int(self._stream.write(f"\n{text[1:]}" if text[:1] == "\r" else text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_out_of_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from tasutils.compute import is_out_of_memory

    return is_out_of_memory(error)


# --- options that several commands share ---

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Describe an image once, refer to it many times: zero-shot referring segmentation.",
)
presets_app = typer.Typer(no_args_is_help=True, help="The named configurations.")
models_app = typer.Typer(no_args_is_help=True, help="The published weights.")
data_app = typer.Typer(no_args_is_help=True, help="The data sets on this disk.")

DeviceOption = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: the best one here.")
]
PresetOption = Annotated[
    str | None,
    typer.Option(help="A preset's name or YAML file; default: photo for photographs, or tiny."),
]
WeightsOption = Annotated[
    str, typer.Option(help="Weights of terms in place of the preset's, such as p=0.2,n=0.")
]
FamilyOption = Annotated[
    list[str] | None,
    typer.Option(help="refscenes, refscenes+, refscenesg, phrasescenes or all; repeatable."),
]
LimitOption = Annotated[
    int | None, typer.Option(min=1, help="Only the first N images of each family and split.")
]
RootOption = Annotated[
    Path | None, typer.Option(help="The folder of published data sets; default: data.")
]
ImagesOption = Annotated[
    Path | None, typer.Option(help="The folder of the images; default: looked for in --root.")
]
SplitByOption = Annotated[
    str | None,
    typer.Option(help="Whose splits: unc, google or umd; default: unc, of refcocog umd."),
]
OutOption = Annotated[Path | None, typer.Option(help="Folder of the runs; default: results.")]
RunArgument = Annotated[Path, typer.Argument(help="The folder of a run.")]
PresetArgument = Annotated[str, typer.Argument(help="A preset's name or the path of its YAML.")]


def _preset(name: str, weights: str = "") -> Preset:
    """A preset, with some weights changed."""
    from tasutils.config import load_preset

    preset, changes = load_preset(name), {}
    for part in filter(None, weights.split(",")):
        term, _, text = part.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise TasError(f"--weights {weights!r} is not term=number,..., such as p=0.2,n=0")
        term = term.strip()
        changes[f"terms.{term}.weight" if term in preset.terms else f"terms.{term}"] = value
    return preset.override(changes) if changes else preset


def _named(wanted: list[str] | None, names: Iterable[str], what: str) -> list[str]:
    """The names asked for, each once; none for all."""
    names = list(names)
    if not wanted or "all" in wanted:
        return names if wanted else []
    for name in wanted:
        if name not in names:
            raise TasError(f"no {what} {name!r}; there are {', '.join(names)} and all")
    return list(dict.fromkeys(wanted))


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print("tas", metadata.version("tasutils"))
        raise typer.Exit


# --- segment ---


@app.command()
def segment(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    sentence: Annotated[list[str] | None, typer.Argument(help="What to find, in words.")] = None,
    sentences: Annotated[
        Path | None, typer.Option(help="A text file of more sentences, one a line.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="A preset's name or YAML file; default: tiny for a picture of 320 x 240 px, "
            "the size of RefScenes, and photo for any other."
        ),
    ] = None,
    weights: WeightsOption = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder; default: results/segment/<picture>.")
    ] = None,
    device: DeviceOption = None,
) -> None:
    """Find what each SENTENCE refers to in IMAGE: overlay.png, mask.png and answer.json."""
    import tasutils
    from tasutils import paths
    from tasutils.refer import parse_expression
    from tasutils.tas import preset_for

    wanted = read_sentences(sentence or [], sentences)
    pixels = tasutils.read_image(image)
    configuration = _preset(preset or preset_for(pixels), weights)
    folder = out or paths.RESULTS / "segment" / paths.name_part(image.stem, 200)
    names = [paths.slug(number, text) for number, text in enumerate(wanted, start=1)]
    with _answer_folder(folder, names) as stage:
        tas = tasutils.load(configuration, device=device)
        # What cannot be read, a sentence or weights, is known before the work.
        for text in wanted:
            parse_expression(text, tas.language, configuration)
        for part in ("proposer", "encoder", "captioner"):
            getattr(tas, part)
        scene = tas.describe(pixels, image_id=image.name)
        height, width = scene.size_hw
        seconds = sum(scene.times_s.values())
        about = f"{width} x {height} px, {len(scene.proposals)} masks, {seconds:.1f} s"
        print(f"{one_line(image.name)}: {about}", flush=True)
        print(f"  {one_line(scene.image_caption) or '(no caption)'}", flush=True)
        for name, text in zip(names, wanted, strict=True):
            answer = tas.refer(scene, text)
            _write_answer(stage / name, pixels, answer, configuration, image)
            print(answer_lines(answer, folder / name), flush=True)


def read_sentences(given: Iterable[str], file: Path | None = None) -> list[str]:
    """The sentences of the command line, then those of a UTF-8 file, one a line, blank ones none.

    Raises:
        TasError: a blank sentence, no sentence at all, or a file that is no readable text.
    """
    found = list(given)
    for number, text in enumerate(found, start=1):
        if not text.strip():
            raise TasError(f"sentence {number} is blank; say in words what to find")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise TasError(f"sentence {number} is no valid text; write it in UTF-8")
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            raise TasError(f"{file} is not UTF-8 text; save it as UTF-8") from error
        except OSError as error:
            raise TasError(f"cannot read {file}: {error.strerror}; name a text file") from error
        found += [" ".join(line.split()) for line in lines if line.strip(" \t\r\f\u200b\ufeff")]
    if not found:
        raise TasError('no sentence; write one, as in: tas segment picture.jpg "the red car"')
    return found


@contextmanager
def _answer_folder(folder: Path, names: list[str]) -> Iterator[Path]:
    """A folder for answers, which all move to their places in `folder` at the end, or none does.

    Raises:
        TasError: the folder cannot be written, or a place holds other things than an answer.
    """
    from tasutils.paths import unfinished_folder

    for name in names:
        with suppress(FileNotFoundError, NotADirectoryError):
            if not set(os.listdir(folder / name)) <= ANSWER_FILES:
                raise TasError(f"{folder / name} holds other things; choose another --out")
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with unfinished_folder(folder) as stage:
            yield stage
            for name in names:
                _put(stage / name, folder / name, stage)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        reason = error.strerror or error
        raise TasError(f"cannot write {folder}: {reason}; choose another --out") from None
    finally:
        for place in made:
            with suppress(OSError):  # it holds answers
                place.rmdir()


def _put(answer: Path, place: Path, stage: Path) -> None:
    """Move an answer to its place, over an earlier one, also while another process does so."""
    for k in range(1000):
        with suppress(FileNotFoundError):
            place.rename(stage / f"old-{k}-{place.name}")
        try:
            answer.rename(place)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _write_answer(
    folder: Path, image: np.ndarray, answer: TasAnswer, preset: Preset, source: Path
) -> None:
    from PIL import Image

    from tasutils.show import save_overlay

    folder.mkdir()
    save_overlay(folder / "overlay.png", image, answer)
    Image.fromarray(answer.mask().astype("uint8") * 255).save(folder / "mask.png")
    text = json.dumps(answer_json(answer, preset, source), indent=1, allow_nan=False)
    (folder / "answer.json").write_text(text + "\n", encoding="utf-8")


def answer_json(answer: TasAnswer, preset: Preset, source: Path) -> dict[str, Any]:
    """An answer as plain values: sizes (H, W), boxes x0, y0, x1, y1, areas px, None for NaN."""
    scene, proposals, table = answer.scene, answer.scene.proposals, answer.table()
    plain = table.astype(object).where(table.notna(), None)
    rows = [
        {
            "mask": index,
            **{name: getattr(value, "item", lambda value=value: value)()
               for name, value in zip(plain.columns, row, strict=True)},
            "box_xyxy": proposals.boxes_xyxy[index].tolist(),
            "center_xy": proposals.centers_xy[index].tolist(),
        }
        for index, *row in plain.itertuples()
    ]  # fmt: skip
    return {
        "schema": SCHEMA,
        "image": str(source),
        "size_hw": list(scene.size_hw),
        "sentence": answer.expression.text,
        "phrase": answer.expression.phrase,
        "directions": [direction.name for direction in answer.expression.directions],
        "chosen": answer.best,
        "rectified": bool(answer.rectified),
        "reason": answer.reason,
        "alpha": answer.weights.get("p"),
        "lambda": answer.weights.get("n"),
        "weights": dict(answer.weights),
        "negatives": list(answer.negatives),
        "image_caption": scene.image_caption,
        "proposals": rows,
        "preset": preset.name,
        "preset_digest": preset.digest(),
        "describe_digest": scene.describe_digest,
        "times_s": dict(scene.times_s),
    }


def answer_lines(answer: TasAnswer, place: Path) -> str:
    """An answer as text: its best masks, why the first of them won, where its files are."""
    table = answer.table().sort_values("rank").head(ROWS_SHOWN)
    numbers, lines = ["total", *answer.terms], [f"\n{one_line(answer.expression.text)}"]
    if len(table):
        lines.append(
            "     mask " + " ".join(f"{name:>7}" for name in numbers) + "  region  caption"
        )
    for index, row in table.iterrows():
        mark, region = ">" if index == answer.best else " ", "in" if row["in_region"] else "out"
        cells = " ".join(f"{row[name]:7.3f}" for name in numbers)
        lines.append(f"   {mark} {index:4} {cells}  {region:6}  {one_line(row['caption'])}")
    lines.append(f"  why: {one_line(answer.reason)}")
    lines.append(f"  negatives: {one_line(', '.join(answer.negatives)) or 'none'}")
    return "\n".join([*lines, f"  {place}"])


# --- describe, evaluate ---


@app.command()
def describe(
    dataset: Annotated[str, typer.Argument(help="refscenes, or what `tas evaluate` takes.")],
    split: Annotated[str, typer.Argument(help="As of `tas evaluate`.")],
    preset: PresetOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N images.")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray: a pool of processes.")] = "local",
    shard: Annotated[
        str | None,
        typer.Option(help="i/n: every n-th image from the i-th on, i from 0; for batch systems."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster; default: one on this machine.")
    ] = None,
    split_by: SplitByOption = None,
    root: RootOption = None,
    images: ImagesOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the runs; default: results. See <out>/scenes.")
    ] = None,
    device: DeviceOption = None,
) -> None:
    """Describe the images of a SPLIT of DATASET, once: `tas evaluate` reads what is there.

    A run that was ended, by whatever, is gone on from by the same command. Exit code 1 if a picture
    cannot be read: a line on stderr and in <out>/scenes/failed-DATASET-SPLIT.jsonl says why.
    """
    part = _shard(shard)
    from tasutils import load, paths
    from tasutils.datasets import default_preset, load_dataset
    from tasutils.engines import check_engine, describe_dataset
    from tasutils.store import SceneStore

    check_engine(engine, address)
    configuration = _preset(preset or default_preset(dataset, split, images))
    data = load_dataset(dataset, split, split_by, root, images)
    store, tas = SceneStore((out or paths.RESULTS) / "scenes"), load(configuration, device=device)
    n_done, n_had, failed = describe_dataset(
        data, tas, store, engine=engine, shard=part, address=address, limit_images=limit
    )
    n_here, n_images = n_done + n_had + len(failed), len(data.image_ids)
    partial = f"; partial, {n_here} of {n_images} images" if n_here < n_images else ""
    print(f"done {n_done}, had {n_had}, failed {len(failed)}{partial}; scenes in {store.folder}")
    raise typer.Exit(1 if failed else 0)


def _shard(text: str | None) -> tuple[int, int] | None:
    """(i, n) of "i/n"; raises TasError for anything else.

    >>> _shard("0/2")
    (0, 2)
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise TasError(f"--shard is i/n with i from 0 to n - 1, such as 0/2, not {text!r}")
    return int(match[1]), int(match[2])


@app.command()
def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            help="refscenes; photos7, seven photographs; refcoco, refcoco+, refcocog or phrasecut, "
            "if they are here; own, pictures and sentences of yours"
        ),
    ],
    split: Annotated[
        str,
        typer.Argument(
            help="of refscenes val, testA, testB, testS, valP or testP; of photos7 all; of own a "
            ".csv, .json or .jsonl file with image, expression and, where you have one, mask"
        ),
    ],
    family: FamilyOption = None,
    preset: PresetOption = None,
    weights: WeightsOption = "",
    method: Annotated[
        list[str] | None,
        typer.Option(help="tas, a peer of it, such as clip_surgery, or all; repeatable."),
    ] = None,
    limit: LimitOption = None,
    split_by: SplitByOption = None,
    root: RootOption = None,
    images: ImagesOption = None,
    masks: Annotated[
        bool | None,
        typer.Option(help="Write the chosen masks as PNG; default: of own data only."),
    ] = None,
    out: OutOption = None,
    device: DeviceOption = None,
) -> None:
    """Run a preset over one SPLIT of DATASET and write one run per family and method."""
    from tasutils.baselines import METHODS
    from tasutils.datasets import default_preset, group

    families, methods = group(dataset, family), _named(method, METHODS, "method")
    configuration = _preset(preset or default_preset(families[0], split, images), weights)
    from tasutils.compare import run_lines
    from tasutils.evaluate import evaluate_families
    from tasutils.runs import read_run

    folders = evaluate_families(
        families, split, configuration, methods=methods or ["tas"], limit_images=limit, out=out,
        device=device, masks=dataset == "own" if masks is None else masks, split_by=split_by,
        root=root, images=images,
    )  # fmt: skip
    for folder in folders:
        print("\n".join(run_lines(read_run(folder))))


# --- what was evaluated ---


@app.command()
def compare(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Folders of runs; default: all of --out.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Of two runs, show every sentence.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Of two runs, print JSON.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder with all runs; default: results.")
    ] = None,
) -> None:
    """Set RUNS side by side, each against the first of the same data set and split.

    One run: its numbers by every convention in print, and how many choices were close. Two: also
    what changed from the first to the second: settings, data, models, code, paired numbers and
    sentences. None: results.csv, a row for each run of the folder.
    """
    from tasutils import compare as c
    from tasutils import paths
    from tasutils.runs import list_runs, read_run

    if not runs:
        folder = out or paths.RESULTS
        found = list_runs(folder)
        if not found:
            raise TasError(f"{folder}: no run there; `tas evaluate` makes one")
        c.results_table(found).to_csv(folder / "results.csv", index=False)
        print("\n".join([*map(c.summary_line, found), f"{len(found)} runs: {folder}/results.csv"]))
        return
    opened = [read_run(run) for run in runs]
    if len(opened) == 1:
        print(printable(c.conventions_text(opened[0])))
        return
    if len(opened) > 2:
        print(printable(c.compare_text(c.compare_runs(opened))))
        return
    pair = opened[0], opened[1]
    diff = c.diff_runs(*pair)
    if as_json:
        print(diff.to_json(every))
        return
    try:
        print(printable(c.compare_text(c.compare_runs(pair))), end="\n\n")
    except TasError as error:
        print(f"not side by side: {error}\n")
    print(printable("\n".join(c.diff_lines(diff, pair, every))))


@app.command()
def rerun(
    run: RunArgument,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Go on where models, data or settings differ.")
    ] = False,
    scenes: Annotated[
        bool, typer.Option("--scenes", help="Read scenes described earlier from <out>/scenes.")
    ] = False,
    file: Annotated[Path | None, typer.Option(help="Of own data, its file.")] = None,
    root: RootOption = None,
    images: ImagesOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the new run; default: results.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: where it ran.")
    ] = None,
) -> None:
    """Make RUN again from its record alone; 0 if all its sentences come out the same, else 1."""
    from tasutils import paths
    from tasutils.rerun import rerun as run_again
    from tasutils.runs import read_run
    from tasutils.store import SceneStore

    folder = out or paths.RESULTS
    store = SceneStore(folder / "scenes") if scenes else None
    done = run_again(
        read_run(run), file=file, root=root, images=images, store=store, out=folder,
        device=device, anyway=anyway,
    )  # fmt: skip
    for note in done.notes:
        print("note:", one_line(note), file=sys.stderr)
    print(f"{done}\n    {done.again.folder}")
    raise typer.Exit(1 if done.n_changed else 0)


@app.command()
def sweep(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs; those of one split make one grid.")
    ],
    weight: Annotated[
        list[str] | None,
        typer.Option(
            "--weight", "--weights", help="Of a term: p=0,0.1,1 or p=first:last:step; repeatable."
        ),
    ] = None,
    synonyms: Annotated[
        str, typer.Option(help="Synonym rules: own, all, or names between commas.")
    ] = "all",
    rectifier: Annotated[
        str, typer.Option(help="Forms of the rectifier: own, all, or names between commas.")
    ] = "all",
    out: Annotated[
        Path | None, typer.Option(help="Parquet file of the grid; default: results/sweep.parquet.")
    ] = None,
) -> None:
    """Try settings on stored RUNS: no picture is opened and no network runs."""
    from tasutils import paths
    from tasutils.runs import read_run
    from tasutils.sweep import best_settings, best_text
    from tasutils.sweep import sweep as make_grid

    axes = dict(axis(text) for text in weight or ())
    names = [[name.strip() for name in text.split(",")] for text in (synonyms, rectifier)]
    target = out or paths.RESULTS / "sweep.parquet"
    if target.is_dir():
        raise TasError(f"{target} is a folder; name a file with --out")
    opened = [read_run(run) for run in runs]
    grid = make_grid(opened, axes or None, *names)
    print(best_text(best_settings(opened, grid)))
    target.parent.mkdir(parents=True, exist_ok=True)
    with paths.whole_file(target) as temporary:
        grid.to_parquet(temporary, index=False)
    print(f"\n{len(grid)} settings: {target}")


def axis(text: str) -> tuple[str, list[float]]:
    """A term and the weights to try, each once, in their order.

    Args:
        text: term=numbers between commas, or term=first:last:step, both ends included.

    Raises:
        TasError: no term, no numbers, or more than 1,000.

    >>> axis("p=0:0.3:0.1"), axis("n=1,0")
    (('p', [0.0, 0.1, 0.2, 0.3]), ('n', [1.0, 0.0]))
    """
    term, equal, values = text.partition("=")
    if not equal or not term.strip():
        raise TasError(f"--weight {text!r} names no term: write p=0:1:0.1 or p=0,0.1,1")
    span = ":" in values
    try:
        found = [float(part) for part in values.split(":" if span else ",")]
    except ValueError:
        found = []
    if not found or not all(map(math.isfinite, found)) or (span and len(found) != 3):
        raise TasError(f"--weight {text} is neither 0,0.1,1 nor first:last:step, as 0:1:0.1")
    if span:
        first, last, step = found
        if step <= 0 or last < first:
            raise TasError(f"--weight {text} has no numbers: first:last:step goes upwards")
        count = math.floor(min((last - first) / step + 1e-9, _MOST)) + 1
        # 0.1 + 0.2 should read 0.3
        found = [float(f"{first + k * step:.12g}") for k in range(count)]
    if len(found) > _MOST:
        raise TasError(f"--weight {text} has more than {_MOST} numbers; give fewer")
    return term.strip(), list(dict.fromkeys(found))


@app.command()
def report(
    only: Annotated[
        str, typer.Option(help="Numbers of notebooks, such as 01,05; default: all that suit.")
    ] = "",
    preset: PresetOption = None,
    dataset: Annotated[
        str,
        typer.Option(
            help="refscenes, all its families (with photos7 first for a preset for photographs); "
            "one family; photos7; or refcoco, refcoco+, refcocog, phrasecut, if they are in data/"
        ),
    ] = "refscenes",
    family: FamilyOption = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="A split; repeat it for several. Default: with --limit the first, else all."
        ),
    ] = None,
    limit: LimitOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default: results.")] = None,
) -> None:
    """Run the notebooks and write one browsable report, index.html; 1 if a notebook failed."""
    from tasutils.datasets import group

    families = group(dataset, family)
    from tasutils.report import build_report

    built = build_report(limit, split, preset, out, families=families, only=only)
    print("open", built.page)
    for name, error in built.failed.items():
        print(f"tas: notebook {name} failed: {error}", file=sys.stderr)
    raise typer.Exit(1 if built.failed else 0)


# --- presets, models, data ---


@presets_app.command("list")
def presets_list() -> None:
    """Name each preset with its description and digest."""
    from tasutils.config import load_preset, preset_names

    for name in preset_names():
        preset = load_preset(name)
        print(f"{name:10} {preset.digest()[:12]}  {' '.join(preset.description.split())}")


@presets_app.command("show")
def presets_show(name: PresetArgument) -> None:
    """Print every value of preset NAME with its source; `assumed` marks what no source states."""
    from tasutils.config import load_preset, source_of

    preset = load_preset(name)
    print(f"{preset.name}: {' '.join(preset.description.split())}\ndigest {preset.digest()}\n")
    leaves = preset.leaves()
    width = max(map(len, leaves))
    for field, value in leaves.items():
        source = source_of(preset.model_dump(), field)
        print(f"{field:{width}}  {one_line(str(value)):24}  {one_line(source)}".rstrip())


@presets_app.command("diff")
def presets_diff(first: PresetArgument, second: PresetArgument) -> None:
    """Print the settings in which two presets differ, each with the reason for it."""
    from tasutils.config import difference_lines, differences, load_preset

    one, other = load_preset(first), load_preset(second)
    rows = differences(one.model_dump(), other.model_dump())
    if not rows:
        print(f"{one.name} and {other.name} have the same settings")
        return
    for line in difference_lines(rows, (one.name, other.name)):
        print(line)
    print(f"\n{len(rows)} settings differ")


NamesArgument = Annotated[
    list[str] | None, typer.Argument(help="Names as `tas models list` gives them.")
]
NeedsOption = Annotated[
    str | None, typer.Option("--preset", help="What this preset needs: a name or a YAML file.")
]


@models_app.command("list")
def models_list() -> None:
    """Name each published model with its size, its licence, whether it is here, and its use."""
    from tasutils.models import faults, load_registry, present

    for model in load_registry().values():
        state = "not here"
        if present(model):
            state = "here" if not faults(model, every_byte=False) else "not whole"
        columns = f"{model.name:17} {_size(model):>10}  {state:9}"
        print(f"{columns}  {model.purpose}; {_licence(model)}")


@models_app.command("check")
def models_check(names: NamesArgument = None, preset: NeedsOption = None) -> None:
    """Compare size and SHA-256 of the published models with what is on this disk.

    Tells all that is missing, half here or damaged, and the command that gets it. Exit code 1 if
    one of the NAMES, or something that the preset needs, is not whole. Without either every model
    is told of, and the exit code is 1 only if one that is here is damaged or half here. Where no
    SHA-256 is published, the file is only looked at.
    """
    from tasutils.models import faults, load_registry, present

    asked = names or preset
    models, bad = _asked(names, preset) if asked else (list(load_registry().values()), 0)
    for model in models:
        if not asked and not present(model):
            print(f"{model.name}: not here; get it with: tas models get {model.name}")
            continue
        found = faults(model)
        for fault in found:
            print(f"{model.name}: {fault}", file=sys.stderr)
        if found:
            bad += 1
            state = "not whole" if present(model) else "not here"
            print(f"{model.name}: {state}; get it with: tas models get {model.name}")
        else:
            print(f"{model.name}: whole, {model.home()}")
    raise typer.Exit(1 if bad else 0)


@models_app.command("get")
def models_get(
    names: NamesArgument = None,
    preset: NeedsOption = None,
    url: Annotated[
        str | None,
        typer.Option(help="Another address: of the one file, or of a mirror of huggingface.co."),
    ] = None,
) -> None:
    """Download models into data/weights, this and `tas data get` alone use the network.

    A download that broke, or was ended with ctrl-c, goes on where it stopped. Sizes and digests
    are compared with the published ones, those of files from a mirror too; nothing else is kept.
    """
    from tasutils.models import get_model

    if not (names or preset):
        raise TasError("name what to get, or --preset; `tas models list` tells what there is")
    models, _ = _asked(names, preset)
    if url and len(models) != 1:
        raise TasError(f"--url is for one model, not for {', '.join(m.name for m in models)}")
    for model in models:
        print(f"{model.name}: {_size(model)}; {_licence(model)}", flush=True)
        if model.noncommercial:
            print("  NON-COMMERCIAL: for research or evaluation only", flush=True)
        if model.note:
            print(f"  {model.note}", flush=True)
        try:
            came = get_model(model, progress_bar, url)
        except KeyboardInterrupt:
            print("  what came is kept; the same command goes on from there", flush=True)
            raise
        print(f"  {'whole' if came else 'was here and whole'}: {model.home()}", flush=True)


def _asked(names: list[str] | None, preset: str | None) -> tuple[list[PublishedModel], int]:
    """The models asked for with what they need, and the number of unpublished files missing."""
    from tasutils.config import load_preset
    from tasutils.models import find_model, model_at, remedy, with_needs

    models, missing = [find_model(name) for name in names or []], 0
    for field, path in load_preset(preset).weight_paths().items() if preset else ():
        if model := model_at(path):
            models.append(model)
        elif path.exists():
            print(f"{field}: here, {path}")
        else:
            missing += 1
            print(f"{field}: {path} is missing; {remedy(path)}", file=sys.stderr)
    return with_needs(models), missing


@contextmanager
def progress_bar(name: str) -> Iterator[Any]:
    """A progress bar of bytes on a terminal; nothing where stderr is a file."""
    from tqdm import tqdm

    with tqdm(desc=f"  {name}", unit="B", unit_scale=True, leave=False, disable=None) as bar:

        def progress(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def _size(model: PublishedModel) -> str:
    size, whole = model.known_size
    if size == 0:
        return "? GB"
    number = f"{size / 1e9:.2f} GB" if size > 1e7 else f"{size / 1e6:.1f} MB"
    return number if whole else f"{number} +"


def _licence(model: PublishedModel) -> str:
    licence = model.licence or "no licence stated"
    return f"{licence} (non-commercial)" if model.noncommercial else licence


@data_app.command("list")
def data_list(root: RootOption = None) -> None:
    """List what there is: images and sentences, and of published data sets what is not here."""
    from tasutils.datasets.doctor import list_lines

    for line in list_lines(root):
        print(line)


@data_app.command("check")
def data_check(
    name: Annotated[
        str | None,
        typer.Argument(
            help="refcoco, refcoco+, refcocog, phrasecut, or a .csv, .json or .jsonl of yours"
        ),
    ] = None,
    split_by: SplitByOption = None,
    root: RootOption = None,
    images: ImagesOption = None,
) -> None:
    """Look for faults, all at once: in what ships and all that is here, or in data set NAME."""
    from tasutils.datasets.doctor import check_own, check_published, check_shipped

    if name is not None and Path(name).suffix:
        n_faults = check_own(Path(name), images)
    elif name is not None:
        n_faults = check_published(name, split_by, root, images)
    else:
        n_faults = check_published(None, None, root, images) + check_shipped()
    raise typer.Exit(1 if n_faults else 0)


@data_app.command("get")
def data_get(
    name: Annotated[
        str,
        typer.Argument(
            help="refcoco, refcoco+, refcocog, phrasecut: annotations; coco-train2014, "
            "visual-genome: their images"
        ),
    ],
    root: RootOption = None,
    url: Annotated[
        str | None, typer.Option(help="Another address, of a set that is one file.")
    ] = None,
) -> None:
    """Fetch NAME from where it is published, on its terms, and unpack it; or unpack its zip."""
    from tasutils.datasets.get_data import get_data, terms_lines

    for line in terms_lines(name):
        print(line)
    for line in get_data(name, progress_bar, root, url):
        print(line, flush=True)


app.add_typer(presets_app, name="presets")
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")

if __name__ == "__main__":
    raise SystemExit(main())
