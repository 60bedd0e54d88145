"""Weights from files and folders: no code of theirs is run, and they fit the model exactly."""

import re
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tasutils.errors import TasError
from tasutils.paths import weights_path

if TYPE_CHECKING:
    import torch

#: for every `from_pretrained`: no network, and no code of a folder; unsaid, it asks on the terminal
SAFELY = MappingProxyType({"local_files_only": True, "trust_remote_code": False})
_MOST_LISTED = 5  # keys of each kind of fault in an error, which has to stay one line
_NESTINGS = ("state_dict", "model")  # of open_clip's and timm's training; of ALBEF and FreeSOLO
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
_SAM_SIZES = {192: " tiny", 768: " vit_b", 1024: " vit_l", 1280: " vit_h"}  # by width


def read_state_dict(path: Path) -> dict[str, "torch.Tensor"]:
    """Tensors of a .safetensors, or of a .pt / .pth / .bin file, by weights_only; out of nesting.

    Raises TasError for a missing or damaged file, and for objects: no code of a file is ever run.
    """
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise TasError(f"no weights at {path}; put the file there or choose another preset")
    if fault := file_fault(path):
        raise TasError(f"weights {path}: the file {fault}; take the published one")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd files, which are refused in one line
            data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise a dozen unrelated types
        raise TasError(f"weights {path}: {_refusal(str(error))}") from None
    for key in _NESTINGS:
        if isinstance(data, dict) and isinstance(data.get(key), dict):
            data = data[key]
    if not isinstance(data, dict) or not data:
        raise TasError(f"weights {path} hold no tensors by name; name another file")
    strays = [str(k) for k, v in data.items() if not (isinstance(k, str) and torch.is_tensor(v))]
    if strays:
        found = f"{len(strays)} entries that are no tensors ({_listed(strays)})"
        raise TasError(f"weights {path} hold {found}; name another file")
    return data


def _refusal(told: str) -> str:
    """What torch says, without its advice to read unsafely."""
    if "TorchScript" in told:
        return "a TorchScript program, like OpenAI's own .pt files, which is not run here"
    if found := re.search(r"GLOBAL (\S+)", told):
        return f"the file asks to run {found[1]}, which is no tensor; it was not run"
    reason = "no file of torch" if "weights only" in told[:80].lower() else told[:80]
    return f"the file is damaged ({reason}); fetch it again"


def file_fault(path: Path) -> str | None:
    """What first bytes and table of contents of weights show, to follow "the file", or None."""
    if path.suffix not in _SUFFIXES:
        return None
    with path.open("rb") as file:
        start = file.read(64)
    if not start.strip():
        return "is empty"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer of a few lines, not the weights that it points to"
    if start.isascii() and start.lstrip()[:1] in {b"<", b"{"}:
        return f"is a page of text ({' '.join(start.decode('ascii').split())[:30]} ...)"
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="np"):  # compares the table with the size
                return None
        if start.startswith(b"PK"):
            zipfile.ZipFile(path).close()
    except Exception as error:  # both raise half a dozen types
        kind = "safetensors" if path.suffix == ".safetensors" else "torch"
        return f"is cut short or no {kind} file ({str(error)[:80]})"
    return None


def load_strict(model: "torch.nn.Module", state: Mapping[str, "torch.Tensor"], name: str) -> None:
    """Copy `state` into `model`, cast to its dtype; TasError unless keys and shapes are equal."""
    both = (model.state_dict(), state)
    own, given = ({k: tuple(t.shape) for k, t in tensors.items()} for tensors in both)
    other = (key for key in own.keys() & given.keys() if own[key] != given[key])
    faults = {
        "missing": own.keys() - given.keys(),
        "unexpected": given.keys() - own.keys(),
        "of other shape": {f"{key} {given[key]} for {own[key]}" for key in other},
    }
    told = [f"{len(keys)} {kind} ({_listed(keys)})" for kind, keys in faults.items() if keys]
    if told:
        theirs, ours = looks_like(given), looks_like(own)
        guess = f"; they look like those of {theirs}" if theirs and theirs != ours else ""
        wrong = "; ".join(told) + guess
        raise TasError(f"weights {name} do not fit the model: {wrong}; check the preset")
    model.load_state_dict(state)


def looks_like(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The family of models whose files have such keys, SAM with its size; None if unknown."""
    for family, marks in _MARKS.items():
        if all(any(key.startswith(mark) for key in shapes) for mark in marks):
            return family + _SAM_SIZES.get(shapes.get("image_encoder.pos_embed", (0,))[-1], "")
    return None


def _listed(keys: Collection[str]) -> str:
    shown = sorted(keys)[:_MOST_LISTED]
    return ", ".join(shown if len(keys) == len(shown) else [*shown, "..."])


# --- folders as written by transformers' save_pretrained ---


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


def local_folder(checkpoint: str, what: str) -> Path:
    """The folder of `checkpoint`: absolute, under data/weights, or in the Hugging Face cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    folder = weights_path(checkpoint)
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(checkpoint, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        remedy = "put the model's files there or choose another preset"
        raise TasError(f"no {what} folder at {folder}; {remedy}") from error


def load_model(
    auto: Any, folder: Path, what: str, types: Collection[str], dtype: "torch.dtype"
) -> Any:
    """The model of a folder by `auto.from_pretrained`, in evaluation mode, on the CPU.

    types: the `model_type`s of config.json that will do. Raises TasError, which names it `what`.
    """
    from transformers import AutoConfig

    with _told(f"{what} {folder} is damaged"):
        config = AutoConfig.from_pretrained(folder, **SAFELY)
        if config.model_type not in types:
            raise TasError(
                f"{folder} holds a {config.model_type} model, no {what}; name its folder"
            )
        model, report = auto.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, **SAFELY
        )
    faults = [*report.get("missing_keys", ()), *report.get("mismatched_keys", ())]
    if faults:
        wrong = f"{len(faults)} weights missing or of other shape ({faults[0]}, ...)"
        raise TasError(f"{what} {folder} does not fit its config.json: {wrong}; fetch it again")
    return model.eval()


def load_tokenizer(folder: Path, what: str, kind: Any = None) -> Any:
    """The tokenizer of a folder, by AutoTokenizer or `kind`; TasError for none or a damaged one."""
    from transformers import AutoTokenizer

    with _told(f"{what} {folder} has no usable tokenizer"):
        tokenizer = (kind or AutoTokenizer).from_pretrained(folder, **SAFELY)
        # a RecursionError if one is unknown; without files some kinds have these alone
        if len(tokenizer) <= len(tokenizer.all_special_ids):
            raise ValueError("no words")
    return tokenizer


def load_processor(kind: Any, folder: Path, what: str) -> Any:
    """A folder's own processor of pictures and texts, of that class; TasError for none."""
    with _told(f"{what} {folder} has no usable processor"):
        processor = kind.from_pretrained(folder, **SAFELY)
        tokenizer = getattr(processor, "tokenizer", None)
        if tokenizer is not None and len(tokenizer) <= len(tokenizer.all_special_ids):
            raise ValueError("its tokenizer has no words")  # some kinds need no file for that
    return processor


class Pixels:
    """A folder's own image processor, for crops of its `image_size` (px); TasError for none."""

    def __init__(self, folder: Path, what: str) -> None:
        from transformers import AutoImageProcessor

        with _told(f"{what} {folder} has no usable preprocessor_config.json"):
            self.processor = AutoImageProcessor.from_pretrained(folder, **SAFELY)
            size = self.processor.size
            self.image_size = int(size.get("height") or size["shortest_edge"])

    def __call__(self, crops: "torch.Tensor", **changes: Any) -> "torch.Tensor":
        """The network's view of float32 (n, 3, s, s) RGB in 0..1; `changes` override settings."""
        # processors count pixels 0..255; floats are neither rounded nor, at this size, resampled
        return self.processor(list(crops * 255), return_tensors="pt", **changes)["pixel_values"]


@contextmanager
def _told(line: str) -> Iterator[None]:
    """Whatever reading a folder raises as one TasError, which begins with the line."""
    try:
        with quiet_transformers():
            yield
    except TasError:
        raise
    except Exception as error:  # damaged files raise a dozen unrelated types
        raise TasError(f"{line} ({str(error)[:80]}); fetch it again") from error
