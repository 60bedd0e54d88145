"""Hostile files: nothing in them runs, nothing is allocated that they only claim, one line each."""

import ast
import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

import tasutils
from tasutils import archives, images
from tasutils.checkpoints import read_state_dict
from tasutils.config import load_preset
from tasutils.datasets.own_masks import read_mask
from tasutils.encoders.openclip import tiny_tokenizer
from tasutils.errors import TasError
from tasutils.images import FORMATS, image_size, read_image
from tasutils.paths import weights_path
from tasutils.pretrained import SAFELY, Pixels, load_model, load_tokenizer

PACKAGE = Path(tasutils.__file__).parent
HW = (24, 32)


def refused(call, *arguments, match=None):
    """The message with which a call refuses, within five seconds of work."""
    start = time.process_time()
    with pytest.raises(TasError, match=match) as caught:
        call(*arguments)
    assert str(caught.value).isprintable() and time.process_time() - start < 5
    return str(caught.value)


def header(text, length=None):
    raw = text.encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw


@pytest.mark.parametrize("data", [
    header('{"a":{}}', 2**63), header('{"a":{}}', 10**9), header('{"a":' * 50_000),
    header('{"a":{"dtype":"F32","shape":[1e18],"data_offsets":[0,"9"]}}'),
    header('{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}') + b"x" * 8,
    header('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,%s]}}' % ("9" * 4000)),
    header('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[8,0]}}') + b"x" * 8,
])  # fmt: skip
def test_safetensors_headers_with_absurd_sizes(tmp_path, data, monkeypatch):
    (tmp_path / "w.safetensors").write_bytes(data)
    refused(read_state_dict, tmp_path / "w.safetensors")


def test_a_sparse_file_with_a_long_header_is_not_read(tmp_path):
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 40 << 30) + b"{")
        file.truncate(50 << 30)
    assert "more than any has" in refused(read_state_dict, path)


class Claim:
    """Asks for storage of any size, as torch's own files do."""

    def __init__(self, count):
        self.count = count


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_that_claim_more_than_they_hold(tmp_path, zipped):
    torch.save({"a": torch.ones(7)}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    data = (tmp_path / "w.pth").read_bytes()
    if zipped:
        claimed = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(claimed, "w") as new:
            for info in old.infolist():
                new.writestr(info, _claiming(old.read(info)))
        (tmp_path / "w.pth").write_bytes(claimed.getvalue())
    else:
        (tmp_path / "w.pth").write_bytes(_claiming(data))
    assert "values, more than its" in refused(read_state_dict, tmp_path / "w.pth")


def _claiming(data):
    """Seven elements become two thousand million."""
    return data.replace(b"K\x07", b"J\xff\xff\xff\x7f")


def test_a_packed_torch_file_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1 << 20)}, tmp_path / "w.pth")
    packed = zipfile.ZipFile(tmp_path / "p.pth", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "w.pth") as old, packed as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    assert "grow when unpacked" in refused(read_state_dict, tmp_path / "p.pth")


def test_every_from_pretrained_says_no_code_and_every_torch_load_weights_only():
    seen = 0
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert given.get("trust_remote_code", "False") == "False", path
            if node.func.attr == "from_pretrained":
                seen += 1
                assert given.get(None) == "SAFELY", f"{path}:{node.lineno}"
            if ast.unparse(node.func) in {"torch.load", "torch.hub.load", "torch.jit.load"}:
                seen += 1
                assert given.get("weights_only") == "True", f"{path}:{node.lineno}"
            if ast.unparse(node.func) in {"pickle.load", "pickle.loads", "yaml.load_all", "eval"}:
                pytest.fail(f"{path}:{node.lineno}")
    assert seen >= 7
    assert dict(SAFELY) == {"local_files_only": True, "trust_remote_code": False}


def test_code_in_a_models_folder_does_not_run_even_if_the_terminal_says_yes(tmp_path, monkeypatch):
    """Unsaid, transformers asks on standard input whether to run it."""
    from transformers import AutoModel

    monkeypatch.setattr("builtins.input", lambda *_: "y")
    entry = {"AutoConfig": "code.C", "AutoTokenizer": ["code.C", None], "AutoModel": "code.C"}
    content = {"model_type": "own", "auto_map": entry | {"AutoImageProcessor": "code.C"}}
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\n")
    with pytest.raises(TasError):
        load_model(AutoModel, tmp_path, "X", {"own"}, torch.float32)
    for call in (load_tokenizer, Pixels):
        with pytest.raises(TasError):
            call(tmp_path, "X")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_packed_unusually_are_refused(tmp_path, packing):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", packing) as archive:
        archive.writestr("a.txt", "x")
    assert "unusual" in refused(archives.unpack, tmp_path / "a.zip", tmp_path / "to")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip"]


def png_of(size, form="PNG", mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, size, 1).save(buffer, form)
    return buffer.getvalue()


def test_what_pictures_may_be_is_a_short_list(tmp_path):
    for form in FORMATS:
        (tmp_path / "ok").write_bytes(png_of((9, 8), form))
        assert read_image(tmp_path / "ok").shape == (8, 9, 3)
    for form in ("EPS", "PCX", "ICO", "TGA", "PDF", "ICNS", "SGI"):
        path = tmp_path / "no.png"
        path.write_bytes(png_of((16, 16), form, "RGB"))
        refused(read_image, path, match="no picture that Pillow can read")
        refused(image_size, path)
        refused(read_mask, "no.png", "", tmp_path, (16, 16))


def test_postscript_is_no_program_here(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    (tmp_path / "a.jpg").write_bytes(png_of((16, 16), "EPS"))
    refused(read_image, tmp_path / "a.jpg")


def test_polyglots_are_what_their_first_bytes_say(tmp_path):
    page = b"<html><script>alert(1)</script>"
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("x.txt", "x")
    for tail in (page, (tmp_path / "z.zip").read_bytes(), b"%PDF-1.4", b"\x80\x04K\x01."):
        (tmp_path / "a.png").write_bytes(png_of((9, 8)) + tail)
        assert read_image(tmp_path / "a.png").shape == (8, 9, 3)
        (tmp_path / "b.png").write_bytes(tail + png_of((9, 8)))
        refused(read_image, tmp_path / "b.png")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F", "CMYK",
                                  "YCbCr", "LAB"])  # fmt: skip
def test_odd_modes_are_pictures_too(tmp_path, mode):
    Image.new(mode, (9, 8)).save(tmp_path / "a.tiff")
    assert read_image(tmp_path / "a.tiff").shape == (8, 9, 3)


def test_a_mask_of_another_size_is_not_decoded(tmp_path, monkeypatch):
    for side in (9_000, 12_000, 60_000):
        ihdr = png_of((8, 8), "PNG", "L")
        (tmp_path / "m.png").write_bytes(ihdr[:16] + struct.pack(">II", side, side) + ihdr[24:])
        monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
        refused(read_mask, "m.png", "", tmp_path, HW)
        monkeypatch.undo()
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    (tmp_path / "m.png").write_bytes(png_of((8, 8)))
    refused(read_image, tmp_path / "m.png", match="larger than")


def deep(levels):
    return "x: " + "[" * levels + "]" * levels


@pytest.mark.parametrize("text", [
    "a: &a [1]\nb: &b [*a, *a]\nc: [*b, *b]", "a: &a {x: 1}\nb: {<<: [*a, *a]}", "a: &a [*a]",
    "x: !!python/object/apply:os.system [touch owned]", "x: !!python/name:os.system", deep(10_000),
    deep(60), "x: 2020-13-45", "x: !!int ''", "x: !!timestamp x", "? [a]\n: b", "x: 9" + "9" * 9000,
    "name: \"a\\x1b[2J\\nb\"", "- 1", "", "\0", "x" * 100_000, "!!set {a}", "x: !!binary =",
])  # fmt: skip
def test_hostile_presets(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.yaml").write_text(text)
    refused(load_preset, tmp_path / "p.yaml")
    assert os.listdir(tmp_path) == ["p.yaml"]


def test_aliases_of_texts_are_taken(tmp_path):
    text = (PACKAGE / "presets" / "tiny.yaml").read_text(encoding="utf-8")
    (tmp_path / "p.yaml").write_text(text)
    assert load_preset(tmp_path / "p.yaml").digest() == load_preset("tiny").digest()


def test_names_of_weights_import_nothing(tmp_path, monkeypatch):
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "__init__.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("package:evil/x", "package:evil.sub/x", "package:/x", "package:..x/y"):
        weights_path(name)
    assert not (tmp_path / "owned").exists()
    assert not weights_path("~nobody-of-this-name/x").exists()


@pytest.mark.parametrize("data", [
    gzip.compress(b"#v\n" + b"a b\n" * 20_000_000), gzip.compress(b"#v\na\n"), b"\x1f\x8b",
    gzip.compress(b"#v\na b c\n"), gzip.compress(b"\xff\xfe"), gzip.compress(b"x y\n" * 9)[:-6],
], ids=["long", "one word", "no stream", "three words", "not text", "cut"])  # fmt: skip
def test_hostile_merges(tmp_path, data):
    import open_clip.tokenizer  # noqa: F401  takes seconds that are not the reader's

    (tmp_path / "m.gz").write_bytes(data)
    refused(tiny_tokenizer, tmp_path / "m.gz")


def test_messages_carry_no_control_codes():
    error = TasError("a\x1b[2J\u202eb\nc\td" + "x" * 10_000 + "\ud800")
    assert (
        str(error).isprintable() and len(str(error)) < 2100 and "\\x1b[2J\\u202eb c d" in str(error)
    )
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
