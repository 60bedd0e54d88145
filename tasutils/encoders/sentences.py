"""A sentence encoder of the MiniLM kind: mean over tokens, then L2 norm."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.checkpoints import quiet_transformers
from tasutils.errors import TasError

if TYPE_CHECKING:
    import torch

_MAX_TOKENS = 256  # max_seq_length of all-MiniLM-L6-v2's sentence_bert_config.json


class SentenceEncoder:
    """A BERT with mean pooling, float32, from a local folder; the network is never asked.

    The folder's modules.json is Transformer, Pooling (mean over tokens), Normalize; this is the
    same, without the library.

    Args:
        folder: with config.json, model.safetensors and the tokenizer's files.
        device: "cpu", "cuda", ...
        batch_size: texts at a time; memory only, changes no result beyond 1e-5.

    Raises TasError when the folder is missing or damaged.
    """

    def __init__(self, folder: Path, device: str = "cpu", batch_size: int = 64) -> None:
        self.device = device
        self.batch_size = batch_size
        self.model, self.tokenizer = _load(folder, device)
        self.dim = int(self.model.config.hidden_size)

    def __call__(self, texts: list[str]) -> NDArray[np.float32]:
        """n texts -> float32 (n, dim), L2-normalised; longer ones are cut at 256 tokens."""
        import torch

        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        # equal lengths beside each other, so that little is spent on padding
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        with torch.inference_mode():
            for start in range(0, len(order), self.batch_size):
                batch = order[start : start + self.batch_size]
                rows[batch] = self._embed([texts[i] for i in batch]).cpu().numpy()
        return rows

    def _embed(self, texts: list[str]) -> "torch.Tensor":
        from torch.nn.functional import normalize

        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt"
        ).to(self.device)
        states = self.model(**tokens).last_hidden_state  # (n, t, dim)
        real = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)  # (n, t, 1)
        return normalize((states * real).sum(1) / real.sum(1), dim=-1)


@lru_cache(maxsize=4)
def _load(folder: Path, device: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    if not folder.is_dir():
        raise TasError(f"no sentence encoder at {folder}; put its folder there")
    try:
        with quiet_transformers():
            model, report = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # damaged files raise a dozen unrelated types
        reason = " ".join(str(error).split())[:80]
        raise TasError(f"sentence encoder {folder} is damaged ({reason}); reinstall it") from error
    if report["missing_keys"] or report["mismatched_keys"]:
        raise TasError(f"sentence encoder {folder} lacks weights of its model; reinstall it")
    return model.float().eval().requires_grad_(False).to(device), tokenizer
