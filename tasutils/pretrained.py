"""Folders as written by transformers' save_pretrained: found, read, or refused in one line."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tasutils.checkpoints import quiet_transformers
from tasutils.errors import TasError
from tasutils.paths import weights_path

if TYPE_CHECKING:
    import torch

#: for every `from_pretrained`: no network, and no code of a folder; unsaid, it asks on the terminal
SAFELY = MappingProxyType({"local_files_only": True, "trust_remote_code": False})


def local_folder(checkpoint: str, what: str) -> Path:
    """The folder of `checkpoint`; the network is never asked.

    Args:
        checkpoint: a folder, absolute or relative to data/weights, or the hub name of a model that
            is in the local Hugging Face cache.
        what: the model's name in the error.

    Raises TasError when there is no such folder.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    folder = weights_path(checkpoint)
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(checkpoint, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise TasError(
            f"no {what} folder at {folder}; put the model's files there or choose another preset"
        ) from error


def load_model(
    auto: Any, folder: Path, what: str, types: Collection[str], dtype: "torch.dtype"
) -> Any:
    """The model of a folder by `auto.from_pretrained`, in evaluation mode, on the CPU.

    Args:
        auto: a model class of transformers.
        folder: with config.json and the weights, safetensors or a .bin read without pickle.
        what: the model's name in errors.
        types: the `model_type`s of config.json that will do.
        dtype: of the weights.

    Raises TasError when the folder holds another model, is damaged, or lacks weights.
    """
    from transformers import AutoConfig

    with _told(folder, what):
        config = AutoConfig.from_pretrained(folder, **SAFELY)
    if config.model_type not in types:
        raise TasError(f"{folder} holds a {config.model_type} model, no {what}; name its folder")
    with _told(folder, what), quiet_transformers():
        model, report = auto.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, **SAFELY
        )
    faults = [*report.get("missing_keys", ()), *report.get("mismatched_keys", ())]
    if faults:
        raise TasError(
            f"{what} {folder} does not fit its config.json: {len(faults)} weights missing or of "
            f"other shape ({faults[0]}, ...); fetch the folder again"
        )
    return model.eval()


def load_tokenizer(folder: Path, what: str, kind: Any = None) -> Any:
    """The tokenizer of a folder, by AutoTokenizer or by a `kind` of transformers.

    Raises TasError when it has none, or a damaged one.
    """
    from transformers import AutoTokenizer

    line = f"{what} {folder} has no usable tokenizer; fetch its files again"
    try:
        with quiet_transformers():
            tokenizer = (kind or AutoTokenizer).from_pretrained(folder, **SAFELY)
            n_special = len(tokenizer.all_special_ids)  # a RecursionError if one is unknown
    except Exception as error:  # damaged files raise a dozen unrelated types
        raise TasError(line) from error
    # without files some kinds start with their special tokens alone, and say nothing
    if len(tokenizer) <= n_special:
        raise TasError(line)
    return tokenizer


class Pixels:
    """A folder's own image processor, for crops that are square already and on their device.

    Attributes:
        image_size: side in px that the processor resizes to; crops of it are not resized again.

    Raises TasError when the folder has no usable processor.
    """

    def __init__(self, folder: Path, what: str) -> None:
        from transformers import AutoImageProcessor

        try:
            with quiet_transformers():
                self.processor = AutoImageProcessor.from_pretrained(folder, **SAFELY)
            size = self.processor.size
            self.image_size = int(size.get("height") or size["shortest_edge"])
        except Exception as error:  # as above
            raise TasError(
                f"{what} {folder} has no usable preprocessor_config.json; fetch it again"
            ) from error

    def __call__(self, crops: "torch.Tensor", **changes: Any) -> "torch.Tensor":
        """What the network sees of float32 (n, 3, image_size, image_size) RGB in 0..1.

        `changes` override the folder's settings, e.g. do_center_crop=False.
        """
        # processors count pixels 0..255; floats are neither rounded nor, at this size, resampled
        return self.processor(list(crops * 255), return_tensors="pt", **changes)["pixel_values"]


@contextmanager
def _told(folder: Path, what: str) -> Iterator[None]:
    """Turns whatever reading a folder raises into one TasError."""
    try:
        yield
    except Exception as error:  # damaged files raise a dozen unrelated types
        reason = " ".join(str(error).split())[:80]
        raise TasError(f"{what} {folder} is damaged ({reason}); fetch it again") from error
