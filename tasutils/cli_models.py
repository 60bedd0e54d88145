"""The commands `tas models`; heavy imports stay inside them, as in `cli`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from tasutils.errors import TasError

if TYPE_CHECKING:
    from tasutils.models import Progress, PublishedModel

models_app = typer.Typer(no_args_is_help=True, help="The published weights.")

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
def progress_bar(name: str) -> Iterator[Progress]:
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
