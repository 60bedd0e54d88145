"""What of the published weights lies on this disk, and whether it is whole."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasutils import paths
from tasutils.checkpoints import file_fault
from tasutils.errors import TasError
from tasutils.registry import PublishedModel
from tasutils.registry.fetch import Expected, part_of, verify

Files = dict[str, Expected]


def known_files(model: PublishedModel) -> Files:
    """Name -> what is known of each file: as published, else as noted when it was received."""
    noted = read_receipt(model)
    known = {}
    for file in model.files:
        got = noted.pop(file.name, Expected())
        known[file.name] = Expected(
            size=file.size if file.size is not None else got.size,
            sha256=file.sha256 or got.sha256,
            md5=file.md5,
        )
    return known | noted


def faults(model: PublishedModel, every_byte: bool = True) -> list[str]:
    """One line for each file that is missing, half here or damaged; none if the model is whole.

    Args:
        model: the model; what it needs besides is not looked at.
        every_byte: compare digests too, else only sizes.
    """
    told: list[str] = []
    if model.folder and not model.home().is_dir():
        return [f"{model.home()} is missing"]
    for name, expected in known_files(model).items():
        path = model.place(name)
        part = part_of(path)
        size = path.stat().st_size if path.is_file() else None
        if size is None and part.is_file():
            told.append(f"{path} is half here ({part.stat().st_size} bytes)")
        elif size is None:
            told.append(f"{path} is missing")
        elif expected.size not in (None, size):
            told.append(f"{path} has {size} bytes, not {expected.size}")
        elif fault := _damage(path, expected) if every_byte else None:
            told.append(fault)
    if not read_receipt(model):
        told += _missing_groups(model)
    return told


def present(model: PublishedModel) -> bool:
    """Whether anything of the model is on this disk."""
    return any(
        path.exists() or part_of(path).exists() for path in map(model.place, known_files(model))
    )


def read_receipt(model: PublishedModel) -> Files:
    """What was noted of each file when `tas models get` received it; empty if it never did."""
    try:
        data: dict[str, Any] = json.loads(_receipt(model).read_text(encoding="utf-8"))
        if data["revision"] != model.revision:
            return {}
        return {name: Expected(**entry) for name, entry in data["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # it is a convenience: without it, what is published is compared


def write_receipt(model: PublishedModel, files: Files) -> None:
    """Note the files' sizes and digests, so that later damage is found where none is published."""
    path = _receipt(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = {name: asdict(entry) for name, entry in sorted(files.items())}
    text = json.dumps({"revision": model.revision, "files": entries}, indent=1) + "\n"
    with paths.whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _damage(path: Path, expected: Expected) -> str | None:
    """What reading every byte of a file of the right size finds wrong, or None."""
    try:
        verify(path, expected, str(path), keep=True)
    except TasError as error:
        return str(error)
    fault = None if expected.sha256 else file_fault(path)
    return f"{path} {fault}" if fault else None


def _receipt(model: PublishedModel) -> Path:
    return paths.WEIGHTS / "received" / f"{model.name}.json"


def _missing_groups(model: PublishedModel) -> list[str]:
    """Of a folder that came by hand: the groups of `also` that must be there and are not."""
    literal = [group for group in model.also if not any("*" in pattern for pattern in group)]
    return [
        f"{model.home()} lacks {' or '.join(group)}"
        for group in literal
        if not any(model.place(name).is_file() for name in group)
    ]
