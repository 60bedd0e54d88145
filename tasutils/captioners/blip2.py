"""BLIP-2 through transformers, from a local folder."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasutils.checkpoints import quiet_transformers
from tasutils.crops import CLIP_MEAN_RGB
from tasutils.errors import TasError
from tasutils.parts import CaptionerConfig
from tasutils.paths import weights_path

if TYPE_CHECKING:
    import torch

CLIP_STD_RGB = (0.26862954, 0.26130258, 0.27577711)  # open_clip/constants.py, 0..1


class Blip2Captioner:
    """`Blip2ForConditionalGeneration` as `Captioner`; never looks at the network.

    Args:
        config: `checkpoint` is a folder as written by save_pretrained (absolute, or relative to
            data/weights), or the hub name of a model that is in the local Hugging Face cache.
        device: "cpu" (float32), "cuda" (float16), ...

    Raises TasError when the folder is missing, damaged or does not fit the model.
    """

    def __init__(self, config: CaptionerConfig, device: str = "cpu") -> None:
        import torch

        self.config = config
        self.device = device
        folder = _local_folder(config.checkpoint)
        self._dtype = torch.float32 if device == "cpu" else torch.float16
        self.model = _load_model(folder, self._dtype).eval().to(device)
        self.tokenizer = _load_tokenizer(folder)
        self.image_size = int(self.model.config.vision_config.image_size)
        mean, std = _mean_and_std(folder)
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, 3, 1, 1)

    def caption(self, crops: "torch.Tensor") -> list[str]:
        """Raw captions of float32 (n, 3, image_size, image_size) RGB in 0..1; n strings."""
        import torch

        texts: list[str] = []
        with torch.inference_mode():
            for start in range(0, len(crops), self.config.batch_size):
                texts += self._caption_batch(crops[start : start + self.config.batch_size])
        return texts

    def _caption_batch(self, crops: "torch.Tensor") -> list[str]:
        import torch

        pixels = ((crops.to(self.device) - self._mean) / self._std).to(self._dtype)
        config = self.model.config
        prompt = [config.image_token_index] * config.num_query_tokens
        prompt.append(config.text_config.bos_token_id)
        prompts = torch.tensor([prompt], device=self.device).repeat(len(crops), 1)
        tokens = self.model.generate(
            pixel_values=pixels,
            input_ids=prompts,
            do_sample=False,
            num_beams=self.config.num_beams,
            max_new_tokens=self.config.max_new_tokens,
            min_new_tokens=self.config.min_length,
        )
        if torch.equal(tokens[:, : len(prompt)], prompts):
            tokens = tokens[:, len(prompt) :]
        return [text.strip() for text in self.tokenizer.batch_decode(tokens, True)]


def _local_folder(checkpoint: str) -> Path:
    """The folder of a checkpoint: under data/weights, absolute, or in the Hugging Face cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    folder = weights_path(checkpoint)
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(checkpoint, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise TasError(
            f"no BLIP-2 folder at {folder}; put the model's files there or choose another preset"
        ) from error


def _load_model(folder: Path, dtype: "torch.dtype") -> Any:
    from transformers import Blip2ForConditionalGeneration

    try:
        with quiet_transformers():
            loaded: Any = Blip2ForConditionalGeneration.from_pretrained(
                folder, dtype=dtype, local_files_only=True, output_loading_info=True
            )
    except Exception as error:  # damaged files raise a dozen unrelated types
        reason = " ".join(str(error).split())[:80]
        raise TasError(f"BLIP-2 {folder} is damaged ({reason}); fetch the folder again") from error
    model, report = loaded
    faults = [*report.get("missing_keys", ()), *report.get("mismatched_keys", ())]
    if faults:
        raise TasError(
            f"BLIP-2 {folder} does not fit its config.json: {len(faults)} weights missing or of "
            f"other shape ({faults[0]}, ...); fetch the folder again"
        )
    return model


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # as above
        raise TasError(f"BLIP-2 {folder} has no usable tokenizer; fetch it again") from error


def _mean_and_std(folder: Path) -> tuple[list[float], list[float]]:
    """Channel mean and std of the folder's image processor; CLIP's when it names none."""
    found: dict[str, Any] = {}
    for name in ("processor_config.json", "preprocessor_config.json"):
        path = folder / name
        if path.is_file():
            data = json.loads(path.read_text(encoding="utf-8"))
            found |= data.get("image_processor", data)
    mean = found.get("image_mean") or CLIP_MEAN_RGB
    std = found.get("image_std") or CLIP_STD_RGB
    return list(mean), list(std)
