"""`make fuzz`: mutated files for every reader, each read or refused in one line.

    python tests/fuzz.py [inputs a reader, 2000] [reader ...] [--from first number]

An input is told by its reader and number alone, so that a fault can be looked at again:
`python tests/fuzz.py 1 pictures --from 1234`. Every reader has a process of its own, which stops at
an input that crashes it, hangs or asks for too much memory; that one was printed last.
"""

import argparse
import contextlib
import copy
import io
import json
import pickle
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import published_trees as trees
from PIL import Image

Tree = dict[str, bytes]
GROWTH = 2 << 30  # bytes that reading may ask for
SECONDS = 5  # of work on one input


@dataclass(frozen=True)
class Reader:
    """seeds: makes valid trees of files, of which one is changed; read: reads one in a folder."""

    seeds: Callable[[], list[Tree]]
    read: Callable[[Path], Any]


# ------------------------------------------------------------------ changes

_WORDS = [b"\x00", b"\xff", b"\x7f", b"\x80", b"\n", b"{", b"[", b'"', b"../", b"PK\x03\x04"]
_WORDS += [struct.pack(form, number) for form, number in [
    ("<H", 0xFFFF), ("<I", 0), ("<I", 0x7FFFFFFF), ("<I", 0xFFFFFFFF), (">I", 0x7FFFFFFF),
    (">I", 30_000), ("<Q", 2**63 - 1), ("<Q", 2**64 - 1), ("<q", -1), (">d", float("nan")),
]]  # fmt: skip
_NUMBERS = [b"-1", b"0", b"1e9", b"99999999999", b"NaN", b"9" * 400, b"9" * 5000, b"''"]
_VALUES = [
    None, True, 0, 1, -1, 2**31, 2**64, 10**400, 0.5, 1e308, float("nan"), "", "0", "nan", "\0",
    "\ud800", "../../x", "/etc/passwd", "C:\\x", "<img src=x onerror=alert(1)>", "$\\frac$",
    "\x1b[31m", "line\nbreak", "x" * 5_000, "o" * 40_000, [], {}, [[]], [None], [0] * 1000,
    [[0, 0, 5, 5, 0, 5]], {"size": [4, 4], "counts": "o" * 9_000},
    {"size": [10**9, 10**9], "counts": [10**18]},
]  # fmt: skip


def mutated(rng: random.Random, name: str, data: bytes) -> bytes:
    """A change of the values of a JSON file, or of the bytes of any."""
    if name.endswith(".json") and rng.random() < 0.6:
        with contextlib.suppress(ValueError):
            text = json.dumps(_changed(rng, json.loads(data)))
            return text.encode("utf-8", "surrogatepass")
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        kind = rng.randrange(6)
        word = rng.choice(_NUMBERS if kind == 1 else _WORDS)
        if kind == 0 and data:
            a = min(a, len(data) - 1)
            data = data[:a] + bytes([data[a] ^ (1 << rng.randrange(8))]) + data[a + 1 :]
        elif kind < 3:
            data = data[:a] + word + data[a + len(word) :]
        elif kind == 3:
            data = data[:a] + word * rng.choice([1, 4, 200]) + data[a:]
        else:
            data = data[:a] + data[b:] if kind == 4 else (data[:b] + data[a:])[: 1 << 20]
    return data


def _changed(rng: random.Random, root: Any) -> Any:
    """Lists, dictionaries and scalars changed at a few random places."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        places, level = [], [root]
        while level and len(places) < 4000:
            item = level.pop()
            keys = item if isinstance(item, dict) else range(len(item) * isinstance(item, list))
            places += [(item, key) for key in keys]
            level += [item[key] for key in keys if isinstance(item[key], (dict, list))]
        if not places:
            return copy.deepcopy(rng.choice(_VALUES))
        holder, key = rng.choice(places)
        if rng.random() < 0.15:
            del holder[key]
        elif rng.random() < 0.15 and isinstance(holder, list):
            holder[key:key] = [holder[key]] * rng.choice([1, 3, 100])
        else:
            holder[key] = copy.deepcopy(rng.choice(_VALUES))
    return root


# ------------------------------------------------------------------ seeds


def _tree(write: Callable[[Path], Any], below: str = "") -> Tree:
    """The files that a function writes into a folder."""
    with tempfile.TemporaryDirectory() as place:
        write(Path(place))
        folder = Path(place) / below
        found = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _saved(save: Callable[..., Any], *given: Any, **options: Any) -> bytes:
    """What a function writes into an open file."""
    buffer = io.BytesIO()
    save(*given, buffer, **options)
    return buffer.getvalue()


def _picture(form: str, mode: str = "RGB", mask: bool = False, **options: Any) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (18, 24, 3), np.uint8)
    if mask:
        noise[:] = 255 * (noise[:, :, :1] > 127)
    image = Image.fromarray(noise).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 200)
    return _saved(image.save, format=form, **options)


_FORMS = [
    ("PNG", "RGB", {}), ("PNG", "RGBA", {}), ("PNG", "P", {"transparency": 3}), ("PNG", "1", {}),
    ("PNG", "I;16", {}), ("JPEG", "RGB", {}), ("JPEG", "CMYK", {}), ("GIF", "P", {}),
    ("JPEG", "RGB", {"progressive": True}), ("BMP", "RGB", {}), ("BMP", "P", {}),
    ("TIFF", "RGB", {}), ("TIFF", "F", {}), ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "RGB", {"compression": "jpeg"}), ("WEBP", "RGBA", {}), ("PPM", "RGB", {}),
    ("WEBP", "RGB", {"lossless": True}), ("AVIF", "RGB", {}), ("JPEG2000", "RGB", {}),
]  # fmt: skip


def _refcoco() -> list[Tree]:
    rle = {"size": [trees.H, trees.W], "counts": [100, 50, 618]}
    shaped = trees.instances()
    for entry, counts in zip(shaped["annotations"], ([100, 50, 618], "T3b1Zc0"), strict=False):
        entry["segmentation"] = rle | {"counts": counts}
    made = ((trees.instances(), 2), (shaped, 0))
    return [
        {"instances.json": json.dumps(content).encode(),
         "refs(unc).p": pickle.dumps(trees.references(), protocol)}
        for content, protocol in made
    ]  # fmt: skip


def _own() -> list[Tree]:
    rle = '{"size": [18, 24], "counts": [100, 50, 282]}'
    rows = [
        {"image": "a.png", "expression": "the dog", "mask": "m.png", "value": "", "extra": 1},
        {"image": "a.png", "expression": "a cat", "mask": json.loads(rle), "category": "cat"},
        {"image": "./a.png", "expression": "x", "mask": [[1, 1, 9, 1, 9, 9]]},
        {"image": "a.png", "expression": "no mask"},
    ]
    table = b"image,expression,mask,category\na.png,the dog,m.png,dog\na.png,a cat,p.png,\n"
    table += b'a.png,"a, b",s.json,\na.png,a bird,"[[1,1,9,1,9,9]]",\n'
    masks = {f"{n}.png": _picture("PNG", mode, mask=True) for n, mode in (("m", "L"), ("p", "P"))}
    return [
        {"a.png": _picture("PNG"), **masks, name: data, "s.json": rle.encode()}
        for name, data in (
            ("my.csv", table), ("my.jsonl", "\n".join(map(json.dumps, rows)).encode())
        )
    ]  # fmt: skip


def _pictures() -> list[Tree]:
    exif = Image.Exif()
    exif[0x0112] = 6
    made = [("JPEG", "RGB", {"exif": exif}), *_FORMS]
    return [{"picture": _picture(form, mode, **options)} for form, mode, options in made]


def _labels() -> list[Tree]:
    return [
        {"picture": _picture(form, mode, mask=True, **options)}
        for form, mode, options in _FORMS
        if form in ("PNG", "GIF", "BMP", "TIFF") and mode != "I;16" and "jpeg" not in str(options)
    ]


def _presets() -> list[Tree]:
    folder = files("tasutils") / "presets"
    return [
        {"mine.yaml": (folder / f"{n}.yaml").read_bytes()} for n in ("tiny", "photo", "official")
    ]


def _runs() -> list[Tree]:
    import light

    def write(folder: Path) -> None:
        run = light.run_of(light.make_dataset(folder), light.light_tas(), folder / "o")
        run.folder.rename(folder / "run")

    return [_tree(write, "run")]


def _weights() -> list[Tree]:
    import torch
    from safetensors.torch import save

    state = {"a.weight": torch.ones(4, 3), "a.bias": torch.zeros(4, dtype=torch.float16)}
    return [
        {"w.safetensors": save(state, {"format": "pt"})},
        {"w.pth": _saved(torch.save, {"model": state})},
        {"w.bin": _saved(torch.save, state, _use_new_zipfile_serialization=False)},
    ]


def _archives() -> list[Tree]:
    def write(folder: Path) -> None:
        for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            with zipfile.ZipFile(folder / str(packing), "w", packing) as archive:
                archive.writestr("refcoco/", b"")
                archive.writestr("refcoco/instances.json", json.dumps(trees.instances()))
                archive.writestr("refcoco/é.txt", b"text" * 20)

    return [{"a.zip": data} for data in _tree(write).values()]


# ------------------------------------------------------------------ readers

READERS: dict[str, Reader] = {}


def reader(name: str, seeds: Callable[[], list[Tree]]) -> Callable[[Any], None]:
    """Enter a function that reads a folder, by name, with valid trees for it."""
    return lambda read: READERS.update({name: Reader(seeds, read)})


def _look(data: Any) -> None:
    for sample in data.samples:
        data.gt_mask(sample)
        if data.refer_truth is not None:
            data.refer_truth(sample)


@reader("refcoco", _refcoco)
def _(folder: Path) -> None:
    from tasutils.datasets.coco import read_files, split_of

    found = read_files(folder / "refs(unc).p", folder / "instances.json")
    for split in ("testB", "val"):
        _look(split_of(found, "refcoco", split, folder))


@reader("phrasecut", lambda: [_tree(lambda f: trees.write_phrasecut(f, images=False), "phrasecut")])
def _(folder: Path) -> None:
    from tasutils.datasets.phrasecut import load_phrasecut

    for raster in ("coco", "outline"):
        _look(load_phrasecut(folder, "test", raster=raster))


@reader("own data", _own)
def _(folder: Path) -> None:
    from tasutils.datasets.own import Own, read_own

    for path in folder.glob("my.*"):
        _, faults = read_own(path)
        assert all("\n" not in fault for fault in faults)
        _look(Own().load(path))


@reader("pictures", _pictures)
def _(folder: Path) -> None:
    from tasutils.errors import TasError
    from tasutils.images import image_size, read_image

    shape = read_image(folder / "picture").shape
    with contextlib.suppress(TasError):
        assert image_size(folder / "picture") == shape[:2]


@reader("masks", _labels)
def _(folder: Path) -> None:
    from tasutils.datasets.own import read_mask

    mask, _ = read_mask("picture", "", folder, (18, 24))
    assert mask.shape == (18, 24)


@reader("presets", _presets)
def _(folder: Path) -> None:
    from tasutils.config import load_preset

    preset = load_preset(folder / "mine.yaml")
    preset.digest(), preset.describe_digest(), preset.override({"terms.p.weight": 0.5})


@reader("runs", _runs)
def _(folder: Path) -> None:
    from tasutils.runs import read_run

    run = read_run(folder)
    len(run.samples), len(run.scores)


@reader("mirror", lambda: [_tree(lambda folder: trees.write_mirror(folder, {"val": "validation"}))])
def _(folder: Path) -> None:
    from tasutils.datasets.coco import mirror_files, read_mirror, split_of

    _look(split_of(read_mirror("refcoco", "val", mirror_files(folder)), "refcoco", "val", folder))


@reader("weights", _weights)
def _(folder: Path) -> None:
    from tasutils.checkpoints import file_fault, read_state_dict

    for path in folder.glob("w.*"):
        file_fault(path)
        read_state_dict(path)


@reader("archives", _archives)
def _(folder: Path) -> None:
    from tasutils.models import unpack

    inner = folder / "inner"
    try:
        unpack(folder / "a.zip", inner / "to")
    finally:
        assert {path.name for path in folder.iterdir()} <= {"a.zip", "inner"}
        assert not inner.is_dir() or {path.name for path in inner.iterdir()} <= {"to"}
        shutil.rmtree(inner, ignore_errors=True)


# ------------------------------------------------------------------ running


def outcome(of: Reader, folder: Path) -> str:
    """What becomes of reading a folder: `ok`, `refused`, or the fault."""
    from tasutils.errors import TasError

    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            of.read(folder)
    except TasError as error:
        text = str(error)
        if len(text.splitlines()) == 1 and text.isprintable() and len(text) < 2500:
            return "refused"
        return f"FAULT not one line: {text[:200]!r}"
    except BaseException as error:  # a panic of Rust is no Exception
        return f"FAULT {type(error).__name__}: {str(error)[:120]!r}"
    return "ok"


def work(name: str, numbers: list[int]) -> None:
    """Read those inputs, printing each number and then what became of it."""
    seeds = READERS[name].seeds()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "input"
        for number in [-1, *numbers]:
            rng = random.Random(f"{name} {number}")
            tree = dict(rng.choice(seeds))
            if number >= 0:  # before them a valid one, by which all that reading needs is imported
                file = rng.choice(sorted(tree))
                tree[file] = mutated(rng, file, tree[file])
            shutil.rmtree(folder, ignore_errors=True)
            for file, data in tree.items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_bytes(data)
            print(f"{name} {number}", end=" ", flush=True)
            signal.setitimer(signal.ITIMER_PROF, SECONDS if number >= 0 else 0)
            print(outcome(READERS[name], folder), flush=True)
            signal.setitimer(signal.ITIMER_PROF, 0)
            if number < 0:
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                in_use = pages * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (in_use + GROWTH, -1))


def fuzz(name: str, numbers: "list[int] | range") -> list[str]:
    """The faults that a reader shows with those inputs, in a process of its own."""
    command = [sys.executable, __file__, "--work", name, "--numbers", ",".join(map(str, numbers))]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    faults = [line for line in lines if "FAULT" in line]
    if not lines or not lines[0].endswith((" ok", " refused")):
        faults.append(f"{name}: a valid file is not read: {done.stderr[-500:]}")
    elif done.returncode or len(lines) != len(numbers) + 1:
        faults.append(f"{lines[-1]} ended by {done.returncode}: {done.stderr[-200:]}")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("inputs", nargs="?", type=int, default=2000)
    parser.add_argument("readers", nargs="*", default=[])
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--numbers", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, [int(number) for number in given.numbers.split(",")])
        return 0
    found = {
        name: fuzz(name, range(given.first, given.first + given.inputs))
        for name in given.readers or READERS
    }
    for name, faults in found.items():
        print(f"{name}: {len(faults)} faults", *faults[:30], sep="\n  ", flush=True)
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
