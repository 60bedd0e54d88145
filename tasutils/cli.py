"""The command line `tas`.

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
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
from argparse import RawDescriptionHelpFormatter as Formatter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from inspect import getdoc
from pathlib import Path
from secrets import token_hex
from typing import Any, NoReturn

import tasutils
from tasutils import compare, config, datasets, evaluate, models, paths
from tasutils.baselines import METHODS, lacking
from tasutils.compute import is_out_of_memory
from tasutils.config import Preset, load_preset
from tasutils.datasets import dataset, doctor, group
from tasutils.datasets.published import get_data
from tasutils.engines import check_engine, describe_dataset
from tasutils.errors import TasError, one_line, printable
from tasutils.refer import TasAnswer, parse_expression
from tasutils.report import build_report
from tasutils.rerun import rerun
from tasutils.runs import list_runs, read_run
from tasutils.scene import said
from tasutils.store import SceneStore
from tasutils.sweep import best_settings, best_text, sweep
from tasutils.tas import preset_for

SCHEMA = 1  # of answer.json
ANSWER_FILES = {"overlay.png", "mask.png", "answer.json"}
ROWS_SHOWN = 5
_NEEDS = "What this preset needs: a name or a YAML file."
_MOST = 1000  # numbers of an axis
_LIST = "; `tas --help` lists what there is"

HELP = {
    "image": "A picture.",
    "sentence": "What to find, in words.",
    "dataset": "refscenes; photos7, seven photographs; refcoco, refcoco+, refcocog or phrasecut, "
    "if they are here; own, pictures and sentences of yours",
    "split": "of refscenes val, testA, testB, testS, valP or testP; of photos7 all; of own a .csv, "
    ".tsv, .json or .jsonl file with image, expression and, where you have one, mask",
    "run": "The folder of a run.",
    "runs": "Folders of runs; those of one split make one grid.",
    "name": "A preset's name or the path of its YAML.",
    "second": "Another.",
    "names": "Names as `tas models list` gives them.",
    "--address": "Of a Ray cluster; default: one on this machine.",
    "--all": "Of two runs, show every sentence.",
    "--anyway": "Go on where models, data or settings differ.",
    "--asks": "By what sentences ask for: direction, size, relation, order, negation, number, or "
    "none of these (plain).",
    "--convention": "One way to count, each run less the first, paired: GRES, worst sentence.",
    "--dataset": "refscenes, all its families (with photos7 first for a preset for photographs); "
    "one family; photos7; or refcoco, refcoco+, refcocog, phrasecut, if they are in data/",
    "--device": "cpu, cuda, cuda:1, mps; default: the best one here.",
    "--engine": "local, or ray: a pool of processes.",
    "--family": "refscenes, refscenes+, refscenesg, phrasescenes or all; repeatable.",
    "--file": "Of own data, its file.",
    "--images": "The folder of the images; default: looked for in --root.",
    "--json": "Of two runs, print JSON.",
    "--limit": "Only the first N images of each family and split.",
    "--masks": "Write the chosen masks as PNG; default: of own data only.",
    "--method": "tas, a peer of it, such as clip_surgery or sam3, one with graded terms, as in "
    "clip_only+d+z, or all whose weights are here; repeatable.",
    "--only": "Numbers of notebooks, such as 01,05; default: all that suit.",
    "--out": "Folder of the runs; default: results.",
    "--preset": "A preset's name or YAML file; default: photo for photographs, or tiny.",
    "--rectifier": "Forms of the rectifier: own, all, or names between commas.",
    "--root": "The folder of published data sets; default: data.",
    "--scenes": "Read scenes described earlier from <out>/scenes.",
    "--sentences": "A text file of more sentences, one a line.",
    "--shard": "i/n: every n-th image from the i-th on, i from 0; for batch systems.",
    "--split": "A split; repeat it for several. Default: with --limit the first, else all.",
    "--split-by": "Whose splits: unc, google or umd; default: unc, of refcocog umd.",
    "--synonyms": "Synonym rules: own, all, or names between commas.",
    "--url": "Another address, of a set that is one file.",
    "--weight": "Of a term: p=0,0.1,1 or p=first:last:step; repeatable.",
    "--weights": "Weights of terms in place of the preset's, such as p=0.2,n=0.",
}


def _count(text: str) -> int:
    if not text.isdecimal() or int(text[:9]) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text[:9])


#: what makes some of them more than a word
_FILES = ("image", "run", "runs", "--file", "--images", "--out", "--root", "--sentences")
_SWITCHES = ("--all", "--anyway", "--asks", "--json", "--scenes")
_KINDS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(_FILES, {"type": Path}),
    **dict.fromkeys(_SWITCHES, {"action": "store_true"}),
    **dict.fromkeys(("--family", "--method", "--split", "--weight"), {"action": "append"}),
    **dict.fromkeys(("--only", "--weights"), {"default": ""}),
    **dict.fromkeys(("--rectifier", "--synonyms"), {"default": "all"}),
    "--dataset": {"default": "refscenes"},
    "--engine": {"default": "local"},
    "--limit": {"type": _count, "metavar": "N"},
    "--masks": {"action": BooleanOptionalAction},
}
GROUPS = {
    "": "Describe an image once, refer to it many times: zero-shot referring segmentation.",
    "presets": "The named configurations.",
    "models": "The published weights.",
    "data": "The data sets on this disk.",
}
COMMANDS: dict[str, tuple[Callable[[Namespace], int | None], list[str], dict[str, str]]] = {}


def _command(words: str = "", **said: str) -> Callable[[Any], Any]:
    """Make a function a command; words: of `HELP`, with how many of each; said: of one instead."""

    def keep(function: Callable[[Namespace], int | None]) -> Any:
        COMMANDS[function.__name__[1:].replace("_", " ")] = function, words.split(), said
        return function

    return keep


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Refuse arguments; `main` prints it."""
        raise TasError(message + _LIST)


def _parser(name: str) -> _Parser:
    """The parser of a command's arguments."""
    function, words, said = COMMANDS[name]
    parser = _Parser(
        f"tas {name}", description=getdoc(function), allow_abbrev=False,
        formatter_class=Formatter,
    )  # fmt: skip
    for word in words:
        key, nargs = (word[:-1], word[-1]) if word[-1] in "?*+" else (word, None)
        more = _KINDS.get(key, {}) | ({"nargs": nargs} if nargs else {})
        flags = ("--weight", "--weights") if key == "--weight" else (key,)
        help_ = said.get(key.lstrip("-").replace("-", "_"), HELP[key])
        parser.add_argument(*flags, help=help_, **more)
    return parser


def _overview(group: str) -> str:
    """What there is: all commands, or those of a group."""
    rows = [
        f"  {name:<15} {(getdoc(function) or '').splitlines()[0]}"
        for name, (function, *_) in COMMANDS.items()
        if name.startswith(group)
    ]
    last = "\n\ntas COMMAND --help explains one; tas --version is the version" * (not group)
    usage = f"usage: tas {group} COMMAND ...".replace("  ", " ")
    return "\n".join([usage, "", GROUPS[group], "", *rows]) + last


def _run(words: list[str]) -> int:
    """Run the command that the words name; its exit code."""
    name = next((n for k in (2, 1) if (n := " ".join(words[:k])) in COMMANDS), "")
    rest = words[len(name.split()) :]
    if name and {"-h", "--help"} & set(rest):
        print(_parser(name).format_help().rstrip())
        return 0
    if name:
        return COMMANDS[name][0](_parser(name).parse_intermixed_args(rest)) or 0
    group = next((word for word in words[:1] if word in GROUPS), "")
    rest = words[bool(group) :]
    if not rest or rest[0] in ("-h", "--help"):
        print(_overview(group))
        return 0 if rest else 2
    if rest == ["--version"] and not group:
        print("tas", metadata.version("tasutils"))
        return 0
    what = "option" if rest[0].startswith("-") else "command"
    raise TasError(f"No such {what} {rest[0]!r}{_LIST}")


def main(args: list[str] | None = None) -> int:
    """Run `tas` and return its exit code; `args` are the program's own when None."""
    os.environ.update(paths.OFFLINE | os.environ)
    warnings.filterwarnings("ignore")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a terminal that knows no emoji gets its code
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code, message = _outcome(sys.argv[1:] if args is None else args)
    if message:
        print("tas:", one_line(" ".join(message.split())), file=sys.stderr)
    return code


def _outcome(words: list[str]) -> tuple[int, str]:
    """Exit code and, if something is wrong, a message."""
    try:
        code = _run(words)
        if sys.stdout is not None:  # `tas ... >&-`
            sys.stdout.flush()
    except TasError as error:
        return 2, str(error)
    except BrokenPipeError:  # `tas ... | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try again as it ends
        return 141, ""
    except OSError as error:  # a full disk, a folder that may not be written
        name = error.filename2 or error.filename or "file"  # of two the one that was written
        return 2, f"{name}: {error.strerror or error}"
    except KeyboardInterrupt:
        return 130, "interrupted"
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not is_out_of_memory(error):
            raise
        return 2, f"out of memory ({str(error)[:80] or 'of this machine'}); free some and try again"
    return code, ""


@_command(
    "image sentence* --sentences --preset --weights --out --device",
    preset="A preset's name or YAML file; default: tiny for a picture of 320 x 240 px, the size of "
    "RefScenes, and photo for any other.",
    out="Folder; default: results/segment/<picture>.",
)
def _segment(o: Namespace) -> None:
    """Find what each SENTENCE refers to in IMAGE: overlay.png, mask.png and answer.json."""
    from PIL import Image

    from tasutils.show import save_overlay

    wanted = _sentences(o.sentence, o.sentences)
    pixels = tasutils.read_image(o.image)
    preset = _preset(o.preset or preset_for(pixels), o.weights)
    folder = o.out or paths.RESULTS / "segment" / paths.name_part(o.image.stem, 200)
    names = [paths.slug(number, text) for number, text in enumerate(wanted, start=1)]
    with _answer_folder(folder, names) as stage:
        tas = tasutils.load(preset, device=o.device)
        # what cannot be read, a sentence or weights, is known before the work.
        for text in wanted:
            parse_expression(text, tas.language, preset)
        for part in ("proposer", "encoder", "captioner"):
            getattr(tas, part)
        scene = tas.describe(pixels, image_id=o.image.name)
        height, width = scene.size_hw
        seconds = sum(scene.times_s.values())
        about = f"{width} x {height} px, {len(scene.proposals)} masks, {seconds:.1f} s"
        print(f"{one_line(o.image.name)}: {about}")
        print(f"  {one_line(scene.image_caption) or '(no caption)'}", flush=True)
        for name, text in zip(names, wanted, strict=True):
            answer = tas.refer(scene, text)
            (stage / name).mkdir()
            save_overlay(stage / name / "overlay.png", pixels, answer)
            mask = Image.fromarray(answer.mask().astype("uint8") * 255)
            mask.save(stage / name / "mask.png")
            told = json.dumps(answer_json(answer, preset, o.image), indent=1, allow_nan=False)
            (stage / name / "answer.json").write_text(f"{told}\n", encoding="utf-8")
            print(answer_lines(answer, folder / name), flush=True)


def _preset(name: str, weights: str = "") -> Preset:
    """A preset, with some weights changed."""
    preset, changes = load_preset(name), {}
    for part in filter(None, weights.split(",")):
        term, _, text = map(str.strip, part.partition("="))
        if not (values := _numbers([text])):
            raise TasError(f"--weights {weights!r} is not term=number,..., such as p=0.2,n=0")
        changes[f"terms.{term}.weight" if term in preset.terms else f"terms.{term}"] = values[0]
    return preset.override(changes) if changes else preset


def _numbers(texts: list[str]) -> list[float]:
    """Finite numbers, or [] where one is none."""
    try:
        found = [float(text) for text in texts]
    except ValueError:
        return []
    return found if all(map(math.isfinite, found)) else []


def _sentences(given: list[str], file: Path | None) -> list[str]:
    """The sentences of the command line, then the lines of a UTF-8 file that are not blank."""
    for number, text in enumerate(given, start=1):
        if not text.strip():
            raise TasError(f"sentence {number} is blank; say in words what to find")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise TasError(f"sentence {number} is no valid text; write it in UTF-8")
    lines: list[str] = []
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8-sig").split("\n")
        except UnicodeDecodeError:
            raise TasError(f"{file} is not UTF-8 text; save it as UTF-8") from None
    found = [" ".join(line.split()) for line in lines if line.strip(" \t\r\f\u200b\ufeff")]
    if not given and not found:
        raise TasError('no sentence; write one, as in: tas segment picture.jpg "the red car"')
    return [*given, *found]


@contextmanager
def _answer_folder(folder: Path, names: list[str]) -> Iterator[Path]:
    """A folder for answers, which all move to their places in `folder` at the end, or none does."""
    for place in (folder / name for name in names):
        if place.is_dir() and not set(os.listdir(place)) <= ANSWER_FILES:
            raise TasError(f"{place} holds other things; choose another --out")
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with paths.unfinished_folder(folder) as stage:
            yield stage
            for name in names:
                while (stage / name).exists():  # another process may answer there as well
                    with suppress(FileNotFoundError):
                        (folder / name).rename(stage / f"old-{token_hex(4)}")
                    try:
                        (stage / name).rename(folder / name)
                    except OSError as error:
                        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                            raise
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        reason = error.strerror or error
        raise TasError(f"cannot write {folder}: {reason}; choose another --out") from None
    finally:
        for place in made:
            with suppress(OSError):  # it holds answers
                place.rmdir()


def answer_json(answer: TasAnswer, preset: Preset, source: Path) -> dict[str, Any]:
    """An answer as plain values: sizes (H, W), boxes x0, y0, x1, y1, areas px, None for NaN."""
    scene, expression = answer.scene, answer.expression
    table = answer.table().assign(
        box_xyxy=scene.proposals.boxes_xyxy.tolist(), center_xy=scene.proposals.centers_xy.tolist()
    )
    plain = table.astype(object).where(table.notna(), None)
    return {
        "schema": SCHEMA, "image": str(source), "size_hw": list(scene.size_hw),
        "sentence": expression.text, "phrase": expression.phrase,
        "directions": [direction.name for direction in expression.directions],
        "chosen": answer.best, "rectified": bool(answer.rectified), "sure": answer.sure,
        "reason": answer.reason, "alpha": answer.weights.get("p"),
        "lambda": answer.weights.get("n"), "weights": dict(answer.weights),
        "negatives": list(answer.negatives), "image_caption": scene.image_caption,
        "proposals": plain.reset_index(names="mask").to_dict("records"), "preset": preset.name,
        "preset_digest": preset.digest(), "describe_digest": scene.describe_digest,
        "times_s": dict(scene.times_s),
    } | ({} if preset.decide is None else {"meant": list(answer.chosen)})  # fmt: skip


def answer_lines(answer: TasAnswer, place: Path) -> str:
    """An answer as text: its best masks, why the first of them won, where its files are."""
    table = answer.table().sort_values("rank").head(ROWS_SHOWN)
    numbers, lines = ["total", *answer.terms], [f"\n{one_line(answer.expression.text)}"]
    if len(table):
        heads = " ".join(f"{name:>7}" for name in numbers)
        lines.append(f"     mask {heads}  region  caption")
    for index, row in table.iterrows():
        mark, region = ">" if index in answer.chosen else " ", "in" if row["in_region"] else "out"
        cells = " ".join(f"{row[name]:7.3f}" for name in numbers)
        lines.append(f"   {mark} {index:4} {cells}  {region:6}  {one_line(said(row['caption']))}")
    lines.append(f"  why: {one_line(answer.reason)}")
    lines.append(f"  negatives: {one_line(', '.join(answer.negatives)) or 'none'}")
    return "\n".join([*lines, f"  {place}"])


@_command(
    "dataset split --preset --limit --engine --shard --address --split-by --root --images --out "
    "--device",
    dataset="refscenes, or what `tas evaluate` takes.",
    split="As of `tas evaluate`.",
    limit="Only the first N images.",
    out="Folder of the runs; default: results. See <out>/scenes.",
)
def _describe(o: Namespace) -> int:
    """Describe the images of a SPLIT of DATASET, once: `tas evaluate` reads what is there.

    A run that was ended, by whatever, is gone on from by the same command. Exit code 1 if a picture
    cannot be read: a line on stderr and in <out>/scenes/failed-DATASET-SPLIT.jsonl says why.
    """
    shard = _shard(o.shard)
    check_engine(o.engine, o.address)
    preset = _preset(o.preset or dataset(o.dataset).preset(o.split, o.images))
    data = datasets.load_dataset(o.dataset, o.split, o.split_by, o.root, o.images)
    store = SceneStore((o.out or paths.RESULTS) / "scenes")
    tas = tasutils.load(preset, device=o.device)
    n_done, n_had, failed = describe_dataset(
        data, tas, store, engine=o.engine, shard=shard, address=o.address, limit_images=o.limit
    )
    n_here, n_images = n_done + n_had + len(failed), len(data.image_ids)
    partial = f"; partial, {n_here} of {n_images} images" if n_here < n_images else ""
    print(f"done {n_done}, had {n_had}, failed {len(failed)}{partial}; scenes in {store.folder}")
    return bool(failed)


def _shard(text: str | None) -> tuple[int, int] | None:
    """(i, n) of "i/n"."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise TasError(f"--shard is i/n with i from 0 to n - 1, such as 0/2, not {text!r}")
    return int(match[1]), int(match[2])


@_command(
    "dataset split --family --preset --weights --method --limit --split-by --root --images --masks "
    "--out --device"
)
def _evaluate(o: Namespace) -> None:
    """Run a preset over one SPLIT of DATASET and write one run per family and method."""
    families, methods = group(o.dataset, o.family), list(dict.fromkeys(o.method or ["tas"]))
    for name in {name.partition("+")[0] for name in methods} - {*METHODS, "all"}:
        raise TasError(f"no method {name!r}; there are {', '.join(METHODS)} and all")
    if "all" in methods:
        left_out = {name: lack for name in METHODS if (lack := lacking(name))}
        methods = [name for name in METHODS if name not in left_out]
        for name, lack in left_out.items():
            print(f"note: {name} is left out: {one_line(lack)}", file=sys.stderr)
    preset = _preset(o.preset or dataset(families[0]).preset(o.split, o.images), o.weights)
    folders = evaluate.evaluate_families(
        families, o.split, preset, methods=methods, limit_images=o.limit, out=o.out,
        device=o.device, split_by=o.split_by, root=o.root, images=o.images,
        masks=o.dataset == "own" if o.masks is None else o.masks,
    )  # fmt: skip
    for folder in folders:
        print("\n".join(compare.run_lines(read_run(folder))))


@_command(
    "runs* --all --asks --json --convention --out",
    runs="Folders of runs; default: all of --out.",
    out="Folder with all runs; default: results.",
)
def _compare(o: Namespace) -> None:
    """Set RUNS side by side, each against the first of the same data set and split.

    One run: its numbers by every convention in print, and how many choices were close. Two: also
    what changed from the first to the second: settings, data, models, code, paired numbers and
    sentences. None: results.csv, a row for each run of the folder, and results.html, what answered
    the same sentences side by side. With --asks, the same numbers for the sentences that ask for
    each thing alone; with --convention, by that one alone.
    """
    if not o.runs:
        folder = o.out or paths.RESULTS
        found = list_runs(folder)
        if not found:
            raise TasError(f"{folder}: no run there; `tas evaluate` makes one")
        compare.results_table(found).to_csv(folder / "results.csv", index=False)
        (folder / "results.html").write_text(compare.page(found), encoding="utf-8")
        print(*map(compare.summary_line, found), sep="\n")
        print(f"{len(found)} runs: {folder}/results.csv and {folder}/results.html")
        return
    opened = [read_run(run) for run in o.runs]
    if o.asks:
        print(printable(compare.by_asks_text(compare.by_asks(opened))))
        return
    if o.convention:
        print(printable(compare.convention_text(opened, o.convention)))
        return
    diff = compare.diff_runs(*opened) if len(opened) == 2 else None
    if len(opened) == 1:
        print(printable(compare.conventions_text(opened[0])))
        return
    if diff and o.json:
        print(diff.to_json(o.all))
        return
    try:
        print(printable(compare.compare_text(compare.compare_runs(opened))))
    except TasError as error:
        if not diff:
            raise
        print(f"not side by side: {error}")
    if diff:
        print(printable("\n".join(["", *compare.diff_lines(diff, o.all)])))


@_command(
    "run --anyway --scenes --file --root --images --out --device",
    out="Folder of the new run; default: results.",
    device="cpu, cuda, cuda:1, mps; default: where it ran.",
)
def _rerun(o: Namespace) -> int:
    """Make RUN again from its record alone; 0 if all its sentences come out the same, else 1."""
    folder = o.out or paths.RESULTS
    done = rerun(
        read_run(o.run), file=o.file, root=o.root, images=o.images, out=folder, device=o.device,
        store=SceneStore(folder / "scenes") if o.scenes else None, anyway=o.anyway,
    )  # fmt: skip
    for note in done.notes:
        print("note:", one_line(note), file=sys.stderr)
    print(f"{done}\n    {done.again.folder}")
    return bool(done.n_changed)


@_command(
    "runs+ --weight --synonyms --rectifier --out",
    out="Parquet file of the grid; default: results/sweep.parquet.",
)
def _sweep(o: Namespace) -> None:
    """Try settings on stored RUNS: no picture is opened and no network runs."""
    axes = dict(axis(text) for text in o.weight or ())
    names = [[name.strip() for name in text.split(",")] for text in (o.synonyms, o.rectifier)]
    target = o.out or paths.RESULTS / "sweep.parquet"
    if target.is_dir():
        raise TasError(f"{target} is a folder; name a file with --out")
    opened = [read_run(run) for run in o.runs]
    grid = sweep(opened, axes or None, *names)
    print(best_text(best_settings(opened, grid)))
    target.parent.mkdir(parents=True, exist_ok=True)
    with paths.whole_file(target) as temporary:
        grid.to_parquet(temporary, index=False)
    print(f"\n{len(grid)} settings: {target}")


def axis(text: str) -> tuple[str, list[float]]:
    """A term and the weights to try, each once; the ends of first:last:step are included.

    >>> axis("p=0:0.3:0.1"), axis("n=1,0")
    (('p', [0.0, 0.1, 0.2, 0.3]), ('n', [1.0, 0.0]))
    """
    term, _, values = text.partition("=")
    span = ":" in values
    found = _numbers(values.split(":" if span else ","))
    upwards = not span or (len(found) == 3 and found[0] <= found[1] and found[2] > 0)
    if not (found and term.strip() and upwards):
        shape = "term=0,0.1,1 nor term=first:last:step upwards, as p=0:1:0.1"
        raise TasError(f"--weight {text} is neither {shape}")
    if span:
        first, last, step = found
        count = math.floor(min((last - first) / step + 1e-9, _MOST)) + 1
        # 0.1 + 0.2 should read 0.3
        found = [float(f"{first + k * step:.12g}") for k in range(count)]
    if len(found) > _MOST:
        raise TasError(f"--weight {text} has more than {_MOST} numbers; give fewer")
    return term.strip(), list(dict.fromkeys(found))


@_command(
    "--only --preset --dataset --family --split --limit --out", out="Folder; default: results."
)
def _report(o: Namespace) -> int:
    """Run the notebooks and write one browsable report, index.html; 1 if a notebook failed."""
    families = group(o.dataset, o.family)
    built = build_report(o.limit, o.split, o.preset, o.out, families=families, only=o.only)
    print("open", built.page)
    for name, error in built.failed.items():
        print(f"tas: notebook {name} failed: {error}", file=sys.stderr)
    return bool(built.failed)


@_command()
def _presets_list(_: Namespace) -> None:
    """Name each preset with its description and digest."""
    for name in config.preset_names():
        preset = load_preset(name)
        print(f"{name:10} {preset.digest()[:12]}  {' '.join(preset.description.split())}")


@_command("name")
def _presets_show(o: Namespace) -> None:
    """Print every value of preset NAME with its source; `assumed` marks what no source states."""
    preset = load_preset(o.name)
    print(f"{preset.name}: {' '.join(preset.description.split())}\ndigest {preset.digest()}\n")
    leaves = preset.leaves()
    width = max(map(len, leaves))
    for field, value in leaves.items():
        source = config.source_of(preset.model_dump(), field)
        print(f"{field:{width}}  {one_line(str(value)):24}  {one_line(source)}".rstrip())


@_command("name second")
def _presets_diff(o: Namespace) -> None:
    """Print the settings in which two presets differ, each with the reason for it."""
    one, other = load_preset(o.name), load_preset(o.second)
    rows = config.differences(one.model_dump(), other.model_dump())
    if rows:
        print(*config.difference_lines(rows, (one.name, other.name)), "", sep="\n")
        print(f"{len(rows)} settings differ")
    else:
        print(f"{one.name} and {other.name} have the same settings")


@_command()
def _models_list(_: Namespace) -> None:
    """Name each published model with size, licence, whether it is here, its use, what it saw."""
    for model in models.load_registry().values():
        state = "not here"
        if models.present(model):
            state = "here" if not models.faults(model, every_byte=False) else "not whole"
        size, licence = _facts(model)
        seen = models.saw([model.name])
        what = f"{model.purpose}; {licence}{f'; saw: {seen}' if seen else ''}"
        print(f"{model.name:19} {size:>10}  {state:9}  {what}")


@_command("names* --preset", preset=_NEEDS)
def _models_check(o: Namespace) -> int:
    """Compare size and SHA-256 of the published models with what is on this disk.

    Tells all that is missing, half here or damaged, and the command that gets it. Exit code 1 if
    one of the NAMES, or something that the preset needs, is not whole. Without either every model
    is told of, and the exit code is 1 only if one that is here is damaged or half here. Where no
    SHA-256 is published, the file is only looked at.
    """
    asked = o.names or o.preset
    named, bad = _asked(o.names, o.preset) if asked else (list(models.load_registry().values()), 0)
    for model in named:
        here = models.present(model)
        found = models.faults(model) if asked or here else []
        for fault in found:
            print(f"{model.name}: {fault}", file=sys.stderr)
        bad += bool(found)
        state = f"not {'whole' if here else 'here'}; get it with: tas models get {model.name}"
        print(f"{model.name}: {f'whole, {model.home()}' if here and not found else state}")
    return bool(bad)


@_command(
    "names* --preset --url",
    preset=_NEEDS,
    url="Another address: of the one file, or of a mirror of huggingface.co.",
)
def _models_get(o: Namespace) -> None:
    """Download models into data/weights, this and `tas data get` alone use the network.

    A download that broke, or was ended with ctrl-c, goes on where it stopped. Sizes and digests
    are compared with the published ones, those of files from a mirror too; nothing else is kept.
    """
    if not (o.names or o.preset):
        raise TasError("name what to get, or --preset; `tas models list` tells what there is")
    named, _ = _asked(o.names, o.preset)
    if o.url and len(named) != 1:
        raise TasError(f"--url is for one model, not for {', '.join(m.name for m in named)}")
    for model in named:
        print(f"{model.name}: {'; '.join(_facts(model))}", flush=True)
        if model.noncommercial:
            print("  NON-COMMERCIAL: for research or evaluation only", flush=True)
        if model.note:
            print(f"  {model.note}", flush=True)
        try:
            came = models.get_model(model, progress_bar, o.url)
        except KeyboardInterrupt:
            print("  what came is kept; the same command goes on from there", flush=True)
            raise
        print(f"  {'whole' if came else 'was here and whole'}: {model.home()}", flush=True)


def _asked(names: Iterable[str], preset: str | None) -> tuple[list[models.PublishedModel], int]:
    """The models asked for with what they need, and the number of unpublished files missing."""
    found, missing = [models.find_model(name) for name in names], 0
    for field, path in load_preset(preset).weight_paths().items() if preset else ():
        if model := models.model_at(path):
            found.append(model)
        elif path.exists():
            print(f"{field}: here, {path}")
        else:
            missing += 1
            print(f"{field}: {path} is missing; {models.remedy(path)}", file=sys.stderr)
    return models.with_needs(found), missing


@contextmanager
def progress_bar(name: str) -> Iterator[Any]:
    """A progress bar of bytes on a terminal; nothing where stderr is a file."""
    from tqdm import tqdm

    with tqdm(desc=f"  {name}", unit="B", unit_scale=True, leave=False, disable=None) as bar:

        def progress(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def _facts(model: models.PublishedModel) -> tuple[str, str]:
    """Its size and its licence in words."""
    size, whole = model.known_size
    number = f"{size / 1e9:.2f} GB" if size > 1e7 else f"{size / 1e6:.1f} MB"
    licence = (model.licence or "no licence stated") + " (non-commercial)" * model.noncommercial
    return (number if whole else f"{number} +") if size else "? GB", licence


@_command("--root")
def _data_list(o: Namespace) -> None:
    """List what there is: images and sentences, and of published data sets what is not here."""
    print(*doctor.list_lines(o.root), sep="\n")


@_command(
    "name? --split-by --root --images",
    name="refcoco, refcoco+, refcocog, phrasecut, or a .csv, .tsv, .json or .jsonl of yours",
)
def _data_check(o: Namespace) -> int:
    """Look for faults, all at once: in what ships and all that is here, or in data set NAME."""
    return bool(doctor.check(o.name, o.split_by, o.root, o.images))


@_command(
    "name --root --url",
    name="refcoco, refcoco+, refcocog, phrasecut: annotations; coco-train2014, visual-genome: "
    "their images",
)
def _data_get(o: Namespace) -> None:
    """Fetch NAME from where it is published, on its terms, and unpack it; or unpack its zip."""
    for line in get_data(o.name, progress_bar, o.root, o.url):
        print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
