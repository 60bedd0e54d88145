"""The only place that knows where data, weights and results lie, and how files are named."""

import hashlib
import importlib.util
import os
import re
import shutil
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from secrets import token_hex

_RESERVED = {"", "CON", "PRN", "AUX", "NUL"} | {
    f"{p}{k}" for p in ("COM", "LPT") for k in range(10)
}
_PACKAGE = Path(__file__).resolve().parent
_STALE_S = 7 * 24 * 3600.0  # unfinished work of this age is what a killed process left


def find_root() -> Path:
    """Project root: `TAS_HOME`, else the nearest parent that holds data/refscenes, else here."""
    if home := os.environ.get("TAS_HOME"):
        return Path(home).expanduser().resolve()
    found = (folder for folder in _PACKAGE.parents if (folder / "data" / "refscenes").is_dir())
    return next(found, Path.cwd())


ROOT = find_root()
DATA = ROOT / "data"
WEIGHTS = DATA / "weights"
NLTK_DATA = DATA / "nltk_data"
REFSCENES = DATA / "refscenes"
PHOTOSCENES = DATA / "photoscenes"
NOTEBOOKS = ROOT / "notebooks"
# of a process that runs networks: weights are files of this disk
OFFLINE = {
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false",
}  # fmt: skip
RESULTS = Path(os.environ.get("TAS_RESULTS") or ROOT / "results").expanduser().resolve()


def weights_path(name: str | Path) -> Path:
    """Absolute path of a weights file or folder; `name` is absolute or relative to `WEIGHTS`.

    "package:NAME/FILE" is a file inside an installed package, which is found without importing it.
    """
    text = str(name)
    if not text.startswith("package:"):
        try:
            return WEIGHTS / Path(name).expanduser()
        except RuntimeError:  # the home of nobody
            return WEIGHTS / text
    package, _, rest = text.removeprefix("package:").partition("/")
    # a dotted name would be looked for by importing what stands before the dot
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        return Path(text)
    return Path(next(iter(found.submodule_search_locations))) / rest


def name_part(text: str, most: int = 80) -> str:
    """Text of anyone as a file's name, or a part of one, that any system takes; most: UTF-8 bytes.

    What has to be changed ends in a few digits of its digest, so that no two texts share a name.

    >>> name_part("my photo"), name_part("../a"), name_part("..")
    ('my photo', 'a-61b4c9', 'x-5ec1f7')
    """
    plain = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "-" for c in text)
    plain = plain.lstrip(" .-").rstrip(" .")
    if plain != text or len(plain.encode()) > most:
        plain = plain.encode()[: most - 8].decode(errors="ignore")
    if plain.partition(".")[0].upper() in _RESERVED:
        plain = f"x{plain}"
    if plain == text:
        return text
    return f"{plain}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:6]}"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block ends, and is gone if it fails."""
    temporary = path.with_name(f".tas-{os.getpid()}-{token_hex(4)}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def unfinished_folder(parent: Path) -> Iterator[Path]:
    """A new folder inside `parent`, made when missing; gone on leaving, unless it was renamed."""
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    folder = parent / f".tas-{os.getpid()}-{token_hex(4)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Delete the unfinished files and folders that killed processes left a week ago."""
    for path in folder.glob(".tas-*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_S:
                path.unlink() if path.is_file() else shutil.rmtree(path)


def slug(number: int, text: str, most: int = 48) -> str:
    """A short name of a file or folder for a sentence, which every file system takes.

    >>> slug(1, "The red car, on the left!"), slug(2, "赤い車")
    ('01-the-red-car-on-the-left', '02')
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:most].strip("-")
    return f"{number:02d}-{words}" if words else f"{number:02d}"


def content_digest(path: Path) -> str:
    """SHA-256 (hex) of a file, or of all files of a folder with their names, or "missing"."""
    with suppress(OSError):  # a name that the system does not take
        if path.is_file():
            stat = path.stat()
            return _file_digest(str(path), stat.st_mtime_ns, stat.st_size)
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file())
            lines = [f"{p.relative_to(path).as_posix()} {content_digest(p)}" for p in files]
            return hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return "missing"


@lru_cache(maxsize=256)
def _file_digest(path: str, mtime_ns: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
