"""Files of weights: read without pickle, copied into a model only if they fit it exactly."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasutils.errors import TasError

if TYPE_CHECKING:
    import torch


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

    Raises TasError when the file is missing or damaged.
    """
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise TasError(f"no weights at {path}; put the file there or choose another preset")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise a dozen unrelated types
        reason = " ".join(str(error).split())[:80]
        raise TasError(f"weights {path} are damaged ({reason}); fetch the file again") from error
    return data.get("state_dict", data)


def load_strict(model: "torch.nn.Module", state: Mapping[str, "torch.Tensor"], name: str) -> None:
    """Copy `state` into `model`, cast to its dtype; TasError unless keys and shapes are equal."""
    own = model.state_dict()
    faults = {
        "missing": sorted(own.keys() - state.keys()),
        "unexpected": sorted(state.keys() - own.keys()),
        "of other shape": sorted(
            key for key in own.keys() & state.keys() if own[key].shape != state[key].shape
        ),
    }
    told = [f"{len(keys)} {kind} ({keys[0]}, ...)" for kind, keys in faults.items() if keys]
    if told:
        raise TasError(f"weights {name} do not fit the model: {'; '.join(told)}; check the preset")
    model.load_state_dict({key: tensor.to(own[key].dtype) for key, tensor in state.items()})
