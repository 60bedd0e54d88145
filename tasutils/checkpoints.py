"""Files of weights: read without pickle, copied into a model only if they fit it exactly."""

import json
import mmap
import operator
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasutils.errors import TasError
from tasutils.torch_pickles import legacy_fault, zipped_fault

if TYPE_CHECKING:
    import torch

_MOST_LISTED = 5  # keys of each kind of fault in an error, which has to stay one line
_NESTINGS = ("state_dict", "model")  # of open_clip's and timm's training; of ALBEF and FreeSOLO
_MAX_HEADER_BYTES = 100_000_000  # the bound of the safetensors library itself
_SUFFIXES = {".safetensors", ".pth", ".pt", ".bin"}
# what only one family's files have among their keys; the more particular before the less
_MARKS = {
    "SAM": ("image_encoder.", "mask_decoder."),
    "FreeSOLO": ("ins_head.", "mask_head."),
    "ALBEF": ("visual_encoder_m.", "text_encoder_m."),
    "BLIP-2": ("qformer.", "language_model."),
    "BLIP": ("vision_model.", "text_decoder."),
    "ALIGN": ("vision_model.encoder.blocks.", "text_projection."),
    "transformers' CLIP": ("vision_model.", "text_model."),
    "SigLIP of open_clip": ("visual.trunk.", "text."),
    "CLIP": ("visual.", "transformer.", "token_embedding."),
    "a model trained on several GPUs": ("module.",),
}
_SAM_SIZES = {192: "tiny", 768: "vit_b", 1024: "vit_l", 1280: "vit_h"}  # by width


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' bars and warnings while it loads: what is wrong we say ourselves."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def read_state_dict(path: Path) -> dict[str, "torch.Tensor"]:
    """Tensors of a .safetensors file, or of a .pt / .pth / .bin file read with weights_only.

    A state nested under "state_dict" or "model", as the published files are, is taken out.

    Raises TasError in one line when the file is missing, cut short, damaged, no weights at all, or
    holds objects that only an unsafe reading could restore: no code of a file is ever run.
    """
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise TasError(f"no weights at {path}; put the file there or choose another preset")
    fault = file_fault(path)
    if fault:
        raise TasError(f"weights {path}: the file {fault}; take the published one")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise a dozen unrelated types
        reason = " ".join(str(error).split())[:80]
        if "weights only" in reason.lower():  # torch's advice to read it unsafely
            reason = "no file of torch"
        raise TasError(f"weights {path} are damaged ({reason}); fetch the file again") from error
    return _tensors(data, path)


def file_fault(path: Path) -> str | None:
    """What a glance at a file of weights finds wrong, to follow "the file"; None if nothing.

    Looks at the first bytes and at the table of contents, so that it is fast for any size. Files
    of other suffixes than .safetensors, .pth, .pt and .bin have no faults.
    """
    if path.suffix not in _SUFFIXES:
        return None
    with path.open("rb") as file:
        start = file.read(64)
    if not start.strip():
        return "is empty"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer of a few lines, not the weights that it points to"
    if start.isascii() and start.decode("ascii").lstrip()[:1] in {"<", "{"}:
        return f"is a page of text ({' '.join(start.decode('ascii').split())[:30]} ...)"
    if path.suffix == ".safetensors":
        return _safetensors_fault(path, start)
    if not start.startswith(b"PK"):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return legacy_fault(data)
    try:
        if not zipfile.is_zipfile(path):
            return "is cut short: the end of the archive is missing"
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > path.stat().st_size:
                return "would grow when unpacked; torch packs nothing"
            if min(member.header_offset for member in members):
                return "is no archive from its first byte on"
            pickled = [m for m in members if m.filename.endswith("data.pkl")]
            programs = [archive.read(member) for member in pickled]
    except Exception as error:  # zipfile raises half a dozen types
        return f"is a damaged archive ({' '.join(str(error).split())[:80]})"
    if any(member.filename.endswith("/constants.pkl") for member in members):
        return "is a TorchScript program, like OpenAI's own .pt files, which is not run here"
    faults = (zipped_fault(program, path.stat().st_size) for program in programs)
    return next(filter(None, faults), None)


def load_strict(model: "torch.nn.Module", state: Mapping[str, "torch.Tensor"], name: str) -> None:
    """Copy `state` into `model`, cast to its dtype; TasError unless keys and shapes are equal."""
    own = model.state_dict()
    require_fit({key: tuple(tensor.shape) for key, tensor in own.items()}, state, name)
    model.load_state_dict({key: tensor.to(own[key].dtype) for key, tensor in state.items()})


def require_fit(
    expected: Mapping[str, tuple[int, ...]], state: Mapping[str, "torch.Tensor"], name: str
) -> None:
    """Raise TasError, naming every kind of fault, unless `state` has the `expected` shapes."""
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    faults = {
        "missing": sorted(expected.keys() - shapes.keys()),
        "unexpected": sorted(shapes.keys() - expected.keys()),
        "of other shape": [
            f"{key} {shapes[key]} for {expected[key]}"
            for key in sorted(expected.keys() & shapes.keys())
            if expected[key] != shapes[key]
        ],
    }
    told = [f"{len(keys)} {kind} ({_listed(keys)})" for kind, keys in faults.items() if keys]
    if told:
        mine, theirs = looks_like(shapes), looks_like(expected)
        guess = f"; they look like those of {mine}" if mine and mine != theirs else ""
        raise TasError(
            f"weights {name} do not fit the model: {'; '.join(told)}{guess}; check the preset"
        )


def looks_like(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The family of models whose files have such keys, SAM with its size; None if unknown."""
    for family, marks in _MARKS.items():
        if all(any(key.startswith(mark) for key in shapes) for mark in marks):
            width = shapes.get("image_encoder.pos_embed", (0,))[-1]
            size = _SAM_SIZES.get(width) if family == "SAM" else None
            return f"{family} {size}" if size else family
    return None


def _tensors(data: Any, path: Path) -> dict[str, "torch.Tensor"]:
    """The state dict in what a file holds; TasError if there is none."""
    import torch

    for key in _NESTINGS:
        if isinstance(data, dict) and isinstance(data.get(key), dict):
            data = data[key]
    if not isinstance(data, dict) or not data:
        raise TasError(f"weights {path} hold no tensors by name; name another file")
    strays = [
        key
        for key, value in data.items()
        if not (isinstance(key, str) and isinstance(value, torch.Tensor))
    ]
    if strays:
        raise TasError(
            f"weights {path} hold {len(strays)} entries that are no tensors "
            f"({_listed([str(key) for key in strays])}); name another file"
        )
    return data


def _safetensors_fault(path: Path, start: bytes) -> str | None:
    size, length = path.stat().st_size, int.from_bytes(start[:8], "little")
    if size < 8 or start[8:9] != b"{":
        return "is no safetensors file"
    if length > _MAX_HEADER_BYTES:
        return f"says its table of contents has {length} bytes, more than any has"
    if 8 + length > size:
        return "is cut short: its table of contents is not whole"
    with path.open("rb") as file:
        file.seek(8)
        try:
            entries = json.loads(file.read(length))
            ends = [e["data_offsets"][1] for k, e in entries.items() if k != "__metadata__"]
            whole = 8 + length + max(map(operator.index, ends), default=0)
            return f"is cut short: {size} of {whole} bytes" if size < whole else None
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            return "has a damaged table of contents"


def _listed(keys: list[str]) -> str:
    return ", ".join(keys if len(keys) <= _MOST_LISTED else [*keys[:_MOST_LISTED], "..."])
