"""The commands `tas data`; heavy imports stay inside them, as in `cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tasutils.errors import TasError

data_app = typer.Typer(no_args_is_help=True, help="The data sets on this disk.")

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
LimitOption = Annotated[
    int | None, typer.Option(help="Only the first N images of each family and split.")
]


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
    from tasutils.cli_models import progress_bar
    from tasutils.datasets.get_data import get_data, terms_lines

    for line in terms_lines(name):
        print(line)
    for line in get_data(name, progress_bar, root, url):
        print(line, flush=True)


def require_positive(limit: int | None) -> None:
    """Raise TasError for a limit that is no number of images."""
    if limit is not None and limit < 1:
        raise TasError(f"--limit is a number of images, 1 or more, not {limit}")
