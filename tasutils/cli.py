"""The command line `tas`; see `console` for what becomes of a mistake.

Heavy imports stay inside the commands, so that `tas --help` answers at once.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tasutils import console
from tasutils.cli_data import data_app, world_app
from tasutils.errors import TasError

if TYPE_CHECKING:
    from tasutils.config import Preset

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Describe an image once, refer to it many times: zero-shot referring segmentation.",
)
presets_app = typer.Typer(no_args_is_help=True, help="The named configurations.")
app.add_typer(presets_app, name="presets")
app.add_typer(data_app, name="data")
app.add_typer(world_app, name="world")

PresetOption = Annotated[str, typer.Option(help="A preset's name or the path of its YAML file.")]
DeviceOption = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: the best one here.")
]
LimitOption = Annotated[
    int | None, typer.Option(help="Only the first N images of each family and split.")
]
SplitOption = Annotated[
    list[str] | None,
    typer.Option(help="A split; repeat it for several. Default: val with --limit, else all."),
]


def main(args: list[str] | None = None) -> int:
    """Run `tas` and return its exit code: 0, 1 (a check failed), 2 (a mistake), 130 (ctrl-c)."""
    return console.run(app, args)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print("tas", metadata.version("tasutils"))
        raise typer.Exit


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
    out: Annotated[
        Path | None, typer.Option(help="Folder; default: results/segment/<picture>.")
    ] = None,
    device: DeviceOption = None,
) -> None:
    """Find what each SENTENCE refers to in IMAGE: overlay.png, mask.png and answer.json."""
    import tasutils
    from tasutils import answers, paths
    from tasutils.language.synonyms import wordnet
    from tasutils.loading import preset_for
    from tasutils.refer import parse_expression

    wanted = answers.read_sentences(sentence or [], sentences)
    pixels = tasutils.read_image(image)
    configuration = _preset(preset or preset_for(pixels))
    folder = out or paths.RESULTS / "segment" / (image.stem or "picture")
    with answers.AnswerFolder(folder, wanted) as target:
        tas = tasutils.load(configuration, device=device)
        # Read beside the networks' work; if it is damaged, refer says so in its turn.
        ThreadPoolExecutor(1).submit(wordnet)
        # What cannot be read, a sentence or weights, is known before the work.
        for text in wanted:
            parse_expression(text, tas.language, configuration.rectifier.form)
        for part in ("proposer", "encoder", "captioner"):
            getattr(tas, part)
        scene = tas.describe(pixels, image_id=image.name)
        print(answers.scene_line(image, scene), flush=True)
        for text in wanted:
            answer = tas.refer(scene, text)
            place = target.write(pixels, answer, configuration, source=image)
            print(answers.answer_lines(answer, place), flush=True)
        target.keep()


@app.command()
def evaluate(
    dataset: Annotated[str, typer.Argument(help="refscenes, or photos7: seven photographs")],
    split: Annotated[
        str, typer.Argument(help="val, testA, testB, testS, valP or testP; of photos7: all")
    ],
    family: Annotated[
        list[str] | None,
        typer.Option(help="refscenes, refscenes+, refscenesg, phrasescenes or all; repeatable."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="A preset's name or YAML file; default: photo for photographs, or tiny."),
    ] = None,
    limit: LimitOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the runs; default: results.")] = None,
    device: DeviceOption = None,
) -> None:
    """Run a preset over one SPLIT of DATASET and write one run per family."""
    families = _families(dataset, family)
    _limit_is_positive(limit)
    from tasutils.datasets.refscenes import PHOTO_SPLITS

    photographs = dataset == "photos7" or split in PHOTO_SPLITS
    configuration = _preset(preset or ("photo" if photographs else "tiny"))
    from tasutils.evaluate import evaluate_families
    from tasutils.runs import read_run, summary_line

    folders = evaluate_families(
        families, split, configuration, limit_images=limit, out=out, device=device
    )
    for folder in folders:
        print(summary_line(read_run(folder)))
        print("   ", folder)


@app.command()
def report(
    limit: LimitOption = None,
    split: SplitOption = None,
    preset: PresetOption = "tiny",
    out: Annotated[Path | None, typer.Option(help="Folder; default: results.")] = None,
) -> None:
    """Run the notebooks and write one browsable report, index.html."""
    _limit_is_positive(limit)
    _preset(preset)
    from tasutils.report import build_report

    try:
        page = build_report(limit_images=limit, splits=split, preset=preset, out=out)
    except RuntimeError as error:  # a notebook's cell failed: it names notebook and cell
        print(f"tas: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print("open", page)


@presets_app.command("list")
def presets_list() -> None:
    """Name each preset with its description and digest."""
    from tasutils.config import load_preset, preset_names

    for name in preset_names():
        preset = load_preset(name)
        print(f"{name:10} {preset.digest()[:12]}  {' '.join(preset.description.split())}")


@presets_app.command("show")
def presets_show(name: str) -> None:
    """Print every value of preset NAME with its source; `assumed` marks what no source states."""
    preset = _preset(name)
    print(f"{preset.name}: {' '.join(preset.description.split())}\ndigest {preset.digest()}\n")
    leaves = preset.leaves()
    width = max(map(len, leaves))
    for field, value in leaves.items():
        note = preset.sources.get(field, "")
        if field in preset.assumed:
            note = f"assumed: {note}" if note else "assumed"
        print(f"{field:{width}}  {value!s:24}  {note}".rstrip())


def _preset(name: str) -> Preset:
    from tasutils.config import load_preset

    return load_preset(name)


def _families(dataset: str, wanted: list[str] | None) -> list[str]:
    from tasutils.datasets.refscenes import FAMILIES

    if dataset == "photos7":
        if wanted:
            raise TasError("photos7 has no families; leave out --family")
        return [dataset]
    names = list(FAMILIES)
    if dataset != "refscenes":
        raise TasError(f"no data set {dataset!r} here; there are refscenes and photos7")
    if not wanted or "all" in wanted:
        return names
    for family in wanted:
        if family not in names:
            raise TasError(f"no family {family!r}; there are {', '.join(names)} and all")
    return list(dict.fromkeys(wanted))


def _limit_is_positive(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise TasError(f"--limit is a number of images, 1 or more, not {limit}")


if __name__ == "__main__":
    raise SystemExit(main())
