"""The commands of `tas`, see `cli`.

Heavy imports stay inside the commands, so that `tas --help` answers at once.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tasutils.cli_data import (
    ImagesOption,
    LimitOption,
    RootOption,
    SplitByOption,
    data_app,
    require_positive,
)
from tasutils.cli_describe import describe
from tasutils.cli_models import models_app
from tasutils.cli_presets import presets_app
from tasutils.cli_report import report
from tasutils.cli_runs import compare, rerun
from tasutils.cli_sweep import sweep
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
app.add_typer(presets_app, name="presets")
app.add_typer(data_app, name="data")
app.add_typer(models_app, name="models")
app.command()(sweep)
app.command()(describe)
app.command()(report)
app.command()(compare)
app.command()(rerun)

DeviceOption = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: the best one here.")
]


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
    from tasutils.language.wordnet import wordnet
    from tasutils.refer import parse_expression
    from tasutils.tas import preset_for

    wanted = answers.read_sentences(sentence or [], sentences)
    pixels = tasutils.read_image(image)
    configuration = _preset(preset or preset_for(pixels))
    folder = out or paths.RESULTS / "segment" / paths.name_part(image.stem, 200)
    with answers.AnswerFolder(folder, wanted) as target:
        tas = tasutils.load(configuration, device=device)
        # Read beside the networks' work; if it is damaged, refer says so in its turn.
        ThreadPoolExecutor(1).submit(wordnet)
        # What cannot be read, a sentence or weights, is known before the work.
        for text in wanted:
            parse_expression(text, tas.language, configuration)
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
            ".csv or .jsonl file with image, expression and, where you have one, mask"
        ),
    ],
    family: Annotated[
        list[str] | None,
        typer.Option(help="refscenes, refscenes+, refscenesg, phrasescenes or all; repeatable."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="A preset's name or YAML file; default: photo for photographs, or tiny."),
    ] = None,
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
    out: Annotated[Path | None, typer.Option(help="Folder of the runs; default: results.")] = None,
    device: DeviceOption = None,
) -> None:
    """Run a preset over one SPLIT of DATASET and write one run per family and method."""
    from tasutils.datasets import default_preset, group

    families = group(dataset, family)
    methods = _methods(method)
    require_positive(limit)

    name = preset or default_preset(families[0], split, images)
    configuration = _preset(name)
    from tasutils.compare import run_lines
    from tasutils.evaluate import evaluate_families
    from tasutils.runs import read_run

    folders = evaluate_families(
        families,
        split,
        configuration,
        methods=methods,
        limit_images=limit,
        out=out,
        device=device,
        masks=dataset == "own" if masks is None else masks,
        split_by=split_by,
        root=root,
        images=images,
    )
    for folder in folders:
        for line in run_lines(read_run(folder)):
            print(line)


def _preset(name: str) -> Preset:
    from tasutils.config import load_preset

    return load_preset(name)


def _methods(wanted: list[str] | None) -> list[str]:
    from tasutils.baselines import METHODS

    names = list(METHODS)
    if wanted and "all" in wanted:
        return names
    for name in wanted or ():
        if name not in names:
            raise TasError(f"no method {name!r}; there are {', '.join(names)} and all")
    return list(dict.fromkeys(wanted or ["tas"]))
