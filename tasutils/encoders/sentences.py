"""A sentence encoder of the MiniLM kind: mean over tokens, then L2 norm."""

from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.checkpoints import quiet_transformers
from tasutils.compute import Batches, unit_rows
from tasutils.config import PLAIN, ComputeConfig
from tasutils.errors import TasError
from tasutils.pretrained import SAFELY

if TYPE_CHECKING:
    import torch

_MAX_TOKENS = 256  # max_seq_length of all-MiniLM-L6-v2's sentence_bert_config.json


class SentenceEncoder:
    """A BERT with mean pooling from a local folder; the network is never asked.

    The folder's modules.json is Transformer, Pooling (mean over tokens), Normalize; this is the
    same, without the library.

    Args:
        folder: with config.json, model.safetensors and the tokenizer's files.
        device: "cpu", "cuda", ...
        compute: precision, and texts at a time.

    Raises TasError when the folder is missing or damaged.
    """

    def __init__(self, folder: Path, device: str = "cpu", compute: ComputeConfig = PLAIN) -> None:
        self.device = device
        self.text_batches = Batches("MiniLM", compute.text_batch, device, compute.precision)
        self.model, self.tokenizer = _load(folder, device)
        self.dim = int(self.model.config.hidden_size)

    def __call__(self, texts: list[str]) -> NDArray[np.float32]:
        """n texts -> float32 (n, dim), L2-normalised; longer ones are cut at 256 tokens."""
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        if not texts:
            return rows
        ids = self.tokenizer(texts, truncation=True, max_length=_MAX_TOKENS)["input_ids"]
        eights = np.array([-(-len(row) // 8) for row in ids])
        for n in np.unique(eights).tolist():  # so that no text's rounding hangs on the others
            here = np.flatnonzero(eights == n)
            embed = partial(self._embed, n_tokens=8 * n)
            rows[here] = unit_rows([texts[i] for i in here], embed, self.text_batches, self.dim)
        return rows

    def _embed(self, texts: list[str], n_tokens: int) -> "torch.Tensor":
        tokens = self.tokenizer(
            texts, padding="max_length", truncation=True, max_length=n_tokens, return_tensors="pt"
        ).to(self.device)
        states = self.model(**tokens).last_hidden_state  # (n, t, dim)
        real = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)  # (n, t, 1)
        return (states * real).sum(1) / real.sum(1)


@lru_cache(maxsize=4)
def _load(folder: Path, device: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    if not folder.is_dir():
        raise TasError(f"no sentence encoder at {folder}; put its folder there")
    try:
        with quiet_transformers():
            model, report = AutoModel.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **SAFELY
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, **SAFELY)
    except Exception as error:  # damaged files raise a dozen unrelated types
        reason = " ".join(str(error).split())[:80]
        raise TasError(f"sentence encoder {folder} is damaged ({reason}); reinstall it") from error
    if report["missing_keys"] or report["mismatched_keys"]:
        raise TasError(f"sentence encoder {folder} lacks weights of its model; reinstall it")
    return model.float().eval().requires_grad_(False).to(device), tokenizer
