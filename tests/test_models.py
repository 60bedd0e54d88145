"""The published weights: facts, manifests, loaders that refuse the rest, and fetching.

Downloads come from a real server on this machine, none of them from beyond it.
"""

import hashlib
import json
import os
import pickle
import re
import struct
import zipfile
from functools import partial

import open_clip
import pytest
import torch
import transformers as t
import yaml
from open_clip.constants import HF_SAFE_WEIGHTS_NAME
from open_clip.pretrained import get_pretrained_cfg
from safetensors.torch import save_file
from served import Resource, serving
from small_models import published_shapes

from tasutils import cli, models, paths
from tasutils.baselines.tseg import Tseg, TsegConfig
from tasutils.checkpoints import file_fault, load_strict, looks_like, read_state_dict
from tasutils.classifier import load_classifier
from tasutils.config import load_preset
from tasutils.encoders import EncoderConfig
from tasutils.encoders.openclip import OpenClipEncoder
from tasutils.errors import TasError
from tasutils.models import (
    Expected,
    PublishedModel,
    faults,
    fetch,
    find_model,
    get_model,
    load_registry,
    model_at,
    part_of,
    present,
    unpack,
)
from tasutils.proposals.freesolo import build_freesolo
from tasutils.proposals.sam import build_sam
from tasutils.tas import require_weights

ASKED_FOR = {
    *("sam_vit_b", "sam_vit_l", "sam_vit_h", "clip_rn50", "clip_vit_b32", "clip_vit_b16"),
    *("clip_vit_l14", "siglip2_vit_b16", "align_base", "albef", "albef_mscoco", "albef_flickr30k"),
    *("bert_base_uncased", "blip2_opt", "blip_base", "freesolo_r101"),
    *("sam3", "grounding_dino_tiny", "sam2_large", "florence2_large"),
}
CLIP_NAMES = {
    "clip_rn50": ("RN50-quickgelu", "openai"),
    "clip_vit_b32": ("ViT-B-32-quickgelu", "openai"),
    "clip_vit_b16": ("ViT-B-16-quickgelu", "openai"),
    "clip_vit_l14": ("ViT-L-14-quickgelu", "openai"),
    "siglip2_vit_b16": ("ViT-B-16-SigLIP2", "webli"),
}


# --- the registry ---


def test_every_model_asked_for_is_there():
    assert set(load_registry()) == ASKED_FOR
    for model in load_registry().values():
        assert set(model.needs) <= ASKED_FOR
        assert model.licence or model.note, model.name
        assert model.noncommercial == ("NVIDIA" in (model.licence or ""))


def test_no_value_stands_without_its_source():
    stated = {"url", "size", "sha256", "md5", "licence", "hub", "revision"}
    text = (paths.ROOT / "tasutils" / "models.yaml").read_text(encoding="utf-8")
    for name, entry in yaml.safe_load(text).items():
        for part in [entry, *entry["files"]]:
            values = {key for key in stated & set(part) if part[key] is not None}
            values |= {"name"} & set(part) - ({"name"} if "url" in part else set())
            assert values == set(part["sources"]), name
            for told in part["sources"].values():
                assert len(told) >= 10 and told.lower() not in {"unknown", "assumed"}
        assert not entry.get("also") or (entry["hub"] and entry["folder"])
        for file in entry["files"]:
            assert ("url" in file) != ("hub" in entry) and ("path" in file) != ("folder" in entry)
            assert file.get("url", "https://").startswith("https://")
            assert re.fullmatch("[0-9a-f]{64}", file.get("sha256") or "0" * 64)
            assert re.fullmatch("[0-9a-f]{32}", file.get("md5") or "0" * 32)


def test_places_are_apart_and_facts_agree_with_those_of_others():
    files = [(model.place(f.name), f) for model in load_registry().values() for f in model.files]
    assert len({place for place, _ in files}) == len(files)
    assert all(place.is_relative_to(paths.WEIGHTS / "paper") for place, _ in files)
    digests = {file.sha256: file.size for _, file in files if file.sha256}
    assert all(digests[file.sha256] == file.size for _, file in files if file.sha256)
    for size in ("vit_b", "vit_l", "vit_h"):  # SAM's names end in the start of their MD5
        (file,) = find_model(f"sam_{size}").files
        assert file.md5.startswith(file.name.removesuffix(".pth").rsplit("_", 1)[1])
    assert find_model("blip_base").known_size == (990_769_234, True)  # another catalogue's sum
    assert find_model("blip2_opt").known_size == (14_979_207_136, False)
    for name, of_open_clip in CLIP_NAMES.items():
        assert f"{find_model(name).hub}/" == get_pretrained_cfg(*of_open_clip)["hf_hub"]
        assert find_model(name).files[0].name == HF_SAFE_WEIGHTS_NAME


def test_what_lies_where():
    found = {f: model_at(path).name for f, path in load_preset("paper").weight_paths().items()}
    assert found["proposals.checkpoint"] == "sam_vit_h"
    assert found["encoder.checkpoint"] == "clip_vit_b32"
    assert found["captioner.checkpoint"] == "blip2_opt"
    home = find_model("blip2_opt").home()
    assert model_at(home) == model_at(home / "anything.json") == find_model("blip2_opt")
    assert model_at(paths.WEIGHTS / "tiny" / "sam.safetensors") is None
    with pytest.raises(TasError, match="did you mean sam_vit_h"):
        find_model("sam_vith")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("proposals", "paper/sam_vit_b_01ec64.pth", "get it with: tas models get sam_vit_b"),
        ("encoder", "paper/clip_resnet50.openai.safetensors", "tas models get clip_rn50"),
        ("encoder", "mine/clip.pth", "nothing is downloaded unasked: put it there"),
        ("encoder", "tiny/gone.safetensors", "git checkout"),
    ],
)
def test_missing_weights_name_the_command_that_gets_them(field, value, words):
    preset = load_preset("paper").override({f"{field}.checkpoint": value})
    with pytest.raises(TasError, match=words) as error:
        require_weights(preset, f"{field}.")
    assert "\n" not in str(error.value)


# --- which model a file is of ---


def shapes_of(model):
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def families():
    with torch.device("meta"):
        for size in ("tiny", "vit_b", "vit_l", "vit_h"):
            yield f"SAM {size}", shapes_of(build_sam(size))
        yield "FreeSOLO", shapes_of(build_freesolo("r101"))
        yield "BLIP-2", shapes_of(t.Blip2ForConditionalGeneration(t.Blip2Config()))
        yield "BLIP", shapes_of(t.BlipForConditionalGeneration(t.BlipConfig()))
        yield "ALIGN", shapes_of(t.AlignModel(t.AlignConfig()))
        for name in ("RN50-quickgelu", "ViT-B-32-quickgelu"):
            yield "CLIP", shapes_of(open_clip.CLIP(**open_clip.get_model_config(name)))
        siglip = open_clip.get_model_config("ViT-B-16-SigLIP2")
        del siglip["custom_text"]
        yield "SigLIP of open_clip", shapes_of(open_clip.CustomTextCLIP(**siglip))
    yield "ALBEF", published_shapes("albef_keys")
    yield "ALBEF", published_shapes("albef_pretrain_keys")
    yield None, {"conv.weight": (3, 3)}


def test_files_are_told_apart_by_their_keys():
    for family, shapes in families():
        assert looks_like(shapes) == family


def test_another_models_file_is_named():
    with torch.device("meta"):
        vit_b, vit_h = build_sam("vit_b"), build_sam("vit_h")
    with pytest.raises(TasError) as error:
        load_strict(vit_h, vit_b.state_dict(), "sam.pth")
    message = str(error.value)
    assert "they look like those of SAM vit_b" in message and "\n" not in message
    assert re.search(r"280 missing \(image_encoder\.\S+, (\S+, ){4}\.\.\.\)", message)
    assert "(27, 64) for (27, 80)" in message and len(message) < 1500


def clip_of(checkpoint):
    config = {"model": "tiny-RN", "tokenizer": "tiny/tokenizer.txt.gz", "checkpoint": checkpoint}
    return OpenClipEncoder(EncoderConfig(**config))


def tseg_of(checkpoint):
    return Tseg(clip_of("tiny/clip_rn.safetensors"), TsegConfig(checkpoint=checkpoint))


@pytest.mark.parametrize(("weights", "make"), [
    ("tiny/sam.safetensors", partial(build_sam, "tiny")),
    ("tiny/freesolo.safetensors", partial(build_freesolo, "tiny")),
    ("tiny/clip_rn.safetensors", clip_of), ("tiny/tseg.safetensors", tseg_of),
    (load_preset("photo").encoder.checkpoint, load_classifier),
])  # fmt: skip
def test_every_network_wants_its_own_weights_whole(tmp_path, weights, make):
    path, state = tmp_path / "w.safetensors", read_state_dict(paths.weights_path(weights))
    gone, bent = [key for key in state if state[key].ndim > 1][:2]
    state |= {"stranger": state.pop(gone), bent: torch.zeros(3, 3)}
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    cut = path.read_bytes()[:1000]
    for write, words in (
        (lambda: None, "1 missing .*1 unexpected .*1 of other shape"),
        (lambda: path.write_bytes(cut), "cut short"), (path.unlink, "no weights"),
    ):  # fmt: skip
        write()
        with pytest.raises(TasError, match=words) as error:
            make(str(path))
        assert "\n" not in str(error.value)


# --- files in the published layouts ---


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", [None, "model", "state_dict"])
def test_published_layouts_load_back(tmp_path, key, zipped):
    state = {"a.weight": torch.ones(2, 3), "b": torch.zeros((), dtype=torch.int64)}
    held = {key: state, "epoch": 3} if key else state
    torch.save(held, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert file_fault(tmp_path / "w.pth") is None
    loaded = read_state_dict(tmp_path / "w.pth")
    assert list(loaded) == list(state) and all(torch.equal(loaded[k], state[k]) for k in state)


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def bad_files(folder):
    """Name -> words of the error, each file written into `folder`."""
    ok = {"a": torch.ones(1000)}
    torch.save({"a": Evil(folder / "owned")}, folder / "evil.pth")
    torch.save({"model": ok, "hook": Evil(folder / "owned")}, folder / "evil3.bin")
    torch.save(ok, folder / "whole.pth")
    torch.save(ok, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    save_file(ok, folder / "whole.safetensors")
    for name in ("whole.pth", "legacy.pth", "whole.safetensors"):
        whole = (folder / name).read_bytes()
        (folder / f"half_{name}").write_bytes(whole[: len(whole) // 2])
    (folder / "page.pth").write_text("<!DOCTYPE html>\n<html><title>Not found</title></html>")
    (folder / "answer.safetensors").write_text('{"error": "Repository not found"}')
    (folder / "lfs.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid 0\n")
    (folder / "empty.pth").touch()
    (folder / "noise.safetensors").write_bytes(b"\xff" * 200)
    torch.jit.script(torch.nn.Linear(2, 2)).save(folder / "RN50.pt")
    torch.save([1, 2], folder / "list.pth")
    torch.save({"a": torch.ones(2), "epoch": 3}, folder / "trainer.pth")
    with zipfile.ZipFile(folder / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("archive/data.pkl", pickle.dumps({"a": Evil(folder / "owned")}, 2))
    with (folder / "sparse.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 40 << 30) + b"{")
        file.truncate(50 << 30)
    return {
        "evil.pth": "asks to run (posix|nt).mkdir",
        "evil3.bin": "it was not run",
        "packed.pth": "the file (is damaged|asks to run)",
        "half_whole.pth": "cut short",
        "half_legacy.pth": "damaged .*EOF",
        "half_whole.safetensors": "is cut short",
        "page.pth": "page of text",
        "answer.safetensors": "page of text",
        "lfs.safetensors": "LFS pointer",
        "empty.pth": "is empty",
        "noise.safetensors": "no safetensors file",
        "sparse.safetensors": "no safetensors file",
        "RN50.pt": "TorchScript",
        "list.pth": "no tensors by name",
        "trainer.pth": r"1 entries that are no tensors \(epoch\)",
        "absent.pth": "no weights at",
    }


@pytest.mark.filterwarnings("ignore")
def test_bad_files_are_one_line_each_and_run_nothing(tmp_path):
    for name, words in bad_files(tmp_path).items():
        with pytest.raises(TasError, match=words) as error:
            read_state_dict(tmp_path / name)
        message = str(error.value)
        assert name in message and "\n" not in message and len(message) < 400
    assert not (tmp_path / "owned").exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)  # else this would prove nothing
    assert (tmp_path / "owned").is_dir()
    assert read_state_dict(tmp_path / "legacy.pth")["a"].sum() == 1000


# --- downloads ---

BODY = bytes(range(256)) * 40  # 10240 bytes
SOURCE = "this test, which made it up"


@pytest.fixture
def server():
    with serving() as served:
        served.resources["/file.bin"] = Resource(BODY)
        yield served


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "WEIGHTS", tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(models, "CHUNK_BYTES", 1000)


def digest(body):
    return hashlib.sha256(body).hexdigest()


def known(body=BODY):
    return Expected(size=len(body), sha256=digest(body), md5=hashlib.md5(body).hexdigest())


def quiet(done, total):
    pass


def files(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


# --- one file ---


@pytest.mark.parametrize("expected", [Expected(), Expected(size=len(BODY)), known()])
@pytest.mark.parametrize("length", [True, False])
def test_a_file_comes_whole(server, tmp_path, expected, length):
    server.resources["/file.bin"].length = length
    steps = []
    target = tmp_path / "new" / "file.bin"
    fetch(server.url + "/file.bin", target, expected, lambda *step: steps.append(step))
    assert target.read_bytes() == BODY
    assert files(tmp_path) == ["file.bin"]
    done = [step[0] for step in steps]
    assert done == sorted(done) and done[0] == 0 and done[-1] == len(BODY)
    assert {step[1] for step in steps} == {len(BODY) if length else None}


HALF, OTHER, ALL = BODY[:7000], b"?" * 7000, len(BODY)
NEWER = "Fri, 31 Dec 2100 23:59:59 GMT"


@pytest.mark.parametrize(("served", "part", "expected", "asked"), [
    *(({"ranges": ranges}, HALF, expected, ["bytes=7000-"])
      for ranges in (True, False) for expected in (Expected(), known())),
    *(({"modified": day}, OTHER, Expected(), ["bytes=7000-", None]) for day in (NEWER, None)),
    ({}, BODY, known(), []),
    ({}, BODY + b"+++++", known(), [f"bytes={ALL + 5}-", None]),
    ({}, b"?" * (ALL + 9), Expected(), [f"bytes={ALL + 9}-", None]),
    ({"cut_after": 4096}, b"", known(), [None, "bytes=4096-", "bytes=8192-"]),
])  # fmt: skip
def test_what_a_download_left_is_gone_on_from_or_fetched_anew(
    server, tmp_path, served, part, expected, asked
):
    vars(server.resources["/file.bin"]).update(served)
    if part:
        part_of(tmp_path / "f").write_bytes(part)
    fetch(server.url + "/file.bin", tmp_path / "f", expected, quiet)
    assert [wanted for _, wanted in server.requests] == asked
    assert (tmp_path / "f").read_bytes() == BODY and files(tmp_path) == ["f"]


def test_a_connection_that_breaks_for_good_keeps_what_came(server, tmp_path):
    server.resources["/file.bin"] = Resource(BODY, ranges=False, cut_after=4096)
    with pytest.raises(TasError, match="broke after 4096 of 10240 bytes.*same command") as error:
        fetch(server.url + "/file.bin", tmp_path / "f", Expected(), quiet)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "f").exists() and part_of(tmp_path / "f").stat().st_size == 4096
    server.resources["/file.bin"] = Resource(BODY)  # the next day
    fetch(server.url + "/file.bin", tmp_path / "f", Expected(), quiet)
    assert (tmp_path / "f").read_bytes() == BODY and files(tmp_path) == ["f"]


def test_ctrl_c_keeps_what_came(server, tmp_path):
    def impatient(done, total):
        if done >= 3000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(server.url + "/file.bin", tmp_path / "f", known(), impatient)
    assert part_of(tmp_path / "f").stat().st_size == 3000
    fetch(server.url + "/file.bin", tmp_path / "f", known(), quiet)
    assert server.requests[-1] == ("/file.bin", "bytes=3000-")
    assert (tmp_path / "f").read_bytes() == BODY


def test_wrong_bytes_and_mixtures_of_two_versions_are_not_kept(server, tmp_path):
    server.resources["/file.bin"].body = BODY[:-1] + b"!"
    (tmp_path / "f").write_bytes(b"the old one")
    for part in (b"", b"?" * 7000):
        if part:
            part_of(tmp_path / "f").write_bytes(part)
        with pytest.raises(TasError, match=r"SHA-256 [0-9a-f]{64}, not .* nothing of it is kept"):
            fetch(server.url + "/file.bin", tmp_path / "f", known(), quiet)
        assert files(tmp_path) == ["f"] and (tmp_path / "f").read_bytes() == b"the old one"


@pytest.mark.parametrize(("served", "words"), [
    ({"body": BODY[:5000]}, "has 5000 bytes, not 10240 as published"),
    ({"status": 404}, "does not exist"), ({"status": 401}, "login"),
    ({"status": 403}, "refused"), ({"status": 503}, "503"), ({}, "no answer from .*--url"),
])  # fmt: skip
def test_refusals_are_one_line(server, tmp_path, served, words):
    vars(server.resources["/file.bin"]).update(served)
    url = server.url + "/file.bin" if served else "http://127.0.0.1:9/f"
    with pytest.raises(TasError, match=words) as error:
        fetch(url, tmp_path / "f", known(), quiet)
    assert "\n" not in str(error.value) and files(tmp_path) == []


def test_a_full_disk_is_known_before(server, tmp_path, monkeypatch):
    full = type("Usage", (), {"free": 100})
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    with pytest.raises(TasError, match="10240 bytes do not fit.*100 free"):
        fetch(server.url + "/file.bin", tmp_path / "f", known(), quiet)


# --- a model ---


def model(name="toy", hub=None, **changes):
    source = {"name": SOURCE} if hub else {"url": SOURCE}
    entry = {"name": "toy.pth", "path": "paper/toy.pth", "sources": source}
    entry |= {} if hub else {"url": "https://example.org/toy.pth"}
    base = {"name": name, "purpose": "a test", "licence": None, "files": [entry], "sources": {}}
    if hub:
        base |= {"hub": hub, "sources": {"hub": SOURCE}}
    return PublishedModel.model_validate(base | changes)


def bar(name):
    from contextlib import nullcontext

    return nullcontext(quiet)


def hub_repository(server, name, revision, contents, large=()):
    """Serve a repository as the hub does: its list, and its files behind resolve."""
    siblings = []
    for file, body in contents.items():
        entry = {"rfilename": file, "size": len(body), "blobId": "0" * 40}
        if file in large:
            entry["lfs"] = {"sha256": digest(body), "size": len(body), "pointerSize": 130}
        siblings.append(entry)
        server.resources[f"/{name}/resolve/{revision}/{file}"] = Resource(body)
    listing = json.dumps({"id": name, "sha": revision, "siblings": siblings}).encode()
    server.resources[f"/api/models/{name}/revision/{revision}?blobs=true"] = Resource(listing)


def test_a_file_of_unknown_digest_is_only_looked_at(server, weights):
    body = torch_file(weights)
    server.resources["/toy.pth"] = Resource(body)
    toy = model()
    assert faults(toy) == [f"{toy.home()} is missing"] and not present(toy)
    assert get_model(toy, bar, f"{server.url}/toy.pth") == 1
    assert faults(toy) == [] and toy.home().read_bytes() == body
    assert get_model(toy, bar, f"{server.url}/toy.pth") == 0
    toy.home().write_bytes(body[: len(body) // 2])
    assert "cut short" in faults(toy)[0] and faults(toy, every_byte=False) == []
    assert get_model(toy, bar, f"{server.url}/toy.pth") == 1 and faults(toy) == []


def torch_file(folder):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model": {"a": torch.ones(5)}}, folder / "made.pth")
    return (folder / "made.pth").read_bytes()


def test_what_is_no_weights_is_not_kept(server, weights):
    server.resources["/toy.pth"] = Resource(b"<!DOCTYPE html><title>Sign in</title>")
    with pytest.raises(TasError, match="page of text"):
        get_model(model(), bar, f"{server.url}/toy.pth")
    assert files(weights) == []


def test_a_folder_of_the_hub(server, weights):
    contents = {
        "config.json": b'{"model_type": "toy"}',
        "vocab.txt": b"a\nb\n",
        "tokenizer.json": b"{}",
        "pytorch_model.bin": torch_file(weights),
        "tf_model.h5": b"not for us",
        "onnx/config.json": b"nor this",
        "README.md": b"# Toy",
    }
    hub_repository(server, "org/toy", "a" * 40, contents, large={"pytorch_model.bin"})
    toy = model(
        hub="org/toy",
        revision="a" * 40,
        sources={"hub": SOURCE, "revision": SOURCE},
        folder="paper/toy",
        files=[{"name": "config.json", "sources": {"name": SOURCE}}],
        also=[["*.json"], ["*.txt"], ["model.safetensors", "pytorch_model.bin"]],
    )
    assert get_model(toy, bar, server.url) == 4
    wanted = ["config.json", "pytorch_model.bin", "tokenizer.json", "vocab.txt"]
    assert files(toy.home()) == wanted
    assert faults(toy) == []
    assert get_model(toy, bar, server.url) == 0
    (toy.home() / "vocab.txt").unlink()
    assert get_model(toy, bar, server.url) == 1
    (toy.home() / "pytorch_model.bin").unlink()
    assert faults(toy) == [f"{toy.home()} lacks model.safetensors or pytorch_model.bin"]


def test_the_hub_its_digests_and_addresses(server, monkeypatch, weights):
    hub_repository(server, "org/toy", "main", {"toy.pth": torch_file(weights)}, large={"toy.pth"})
    monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/")
    assert get_model(model(hub="org/toy"), bar) == 1
    (weights / "paper" / "toy.pth").unlink()
    served = server.resources["/org/toy/resolve/main/toy.pth"]
    served.body = served.body[:-1] + b"\x07"
    with pytest.raises(TasError, match="SHA-256"):
        get_model(model(hub="org/toy"), bar, server.url)
    assert not (weights / "paper" / "toy.pth").exists()
    for url in ("file.pth", "http://127.0.0.1:9/mirror"):
        with pytest.raises(TasError, match="--url"):
            get_model(model(), bar, url)


def test_what_is_no_hub_is_one_line(server, weights):
    server.resources["/api/models/org/toy/revision/main?blobs=true"] = Resource(b"<html>")
    with pytest.raises(TasError, match="no list of a repository"):
        get_model(model(hub="org/toy"), bar, server.url)
    hub_repository(server, "org/toy", "main", {"README.md": b"moved"})
    folder = {"folder": "paper/toy", "files": [{"name": "c.json", "sources": {"name": SOURCE}}]}
    with pytest.raises(TasError, match=r"has no file \*.json"):
        get_model(model(hub="org/toy", also=[["*.json"]], **folder), bar, server.url)


# --- the command ---


@pytest.fixture
def toys(server, weights, monkeypatch):
    """A registry of a free and a non-commercial model in place of the published ones."""
    body = torch_file(weights)
    server.resources["/toy.pth"] = Resource(body)
    free = model("free", files=[file_entry("free.pth", size=len(body), sha256=digest(body))])
    bound = model(
        "bound",
        noncommercial=True,
        licence="NC",
        note="mind it",
        sources={"licence": SOURCE},
        needs=["free"],
    )
    monkeypatch.setattr(models, "load_registry", lambda: {"free": free, "bound": bound})
    return server


def file_entry(name, **stated):
    sources = dict.fromkeys(["url", *stated], SOURCE)
    url = f"https://example.org/{name}"
    return {"name": name, "path": f"paper/{name}", "url": url, "sources": sources} | stated


def test_get_check_and_list(toys, weights, capsys):
    url = f"{toys.url}/toy.pth"
    assert cli.main(["models", "check"]) == 0  # nobody has them all
    assert "free: not here; get it with: tas models get free" in capsys.readouterr().out
    assert cli.main(["models", "check", "free"]) == 1
    streams = capsys.readouterr()
    assert "tas models get free" in streams.out and "free.pth is missing" in streams.err
    assert cli.main(["models", "get", "free", "--url", url]) == 0
    assert "whole: " in capsys.readouterr().out
    assert cli.main(["models", "check", "free"]) == 0
    assert cli.main(["models", "check", "bound"]) == 1
    assert cli.main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert " here " in lines[-2] and "not here" in lines[-1] and "non-commercial" in lines[-1]
    part_of(weights / "paper" / "toy.pth").write_bytes(b"half")
    assert cli.main(["models", "check"]) == 1
    assert "is half here (4 bytes)" in capsys.readouterr().err
    (weights / "paper" / "free.pth").write_bytes(b"damaged")
    assert cli.main(["models", "list"]) == 0
    assert capsys.readouterr().out.count("not whole") == 2


def test_a_licence_that_binds_is_told_first(toys, weights, capsys, monkeypatch):
    order = []
    monkeypatch.setattr(
        "tasutils.models.fetch",
        lambda *args: order.append(capsys.readouterr().out) or pytest.fail("not this far"),
    )
    with pytest.raises(pytest.fail.Exception):
        cli.main(["models", "get", "bound"])
    assert "NON-COMMERCIAL" in order[0] and "mind it" in order[0] and "NC" in order[0]


def test_mistakes_are_one_line(toys, capsys):
    for args, words in [
        (["get"], "name what to get"),
        (["get", "fre"], "did you mean free?"),
        (["check", "xyz"], "no published model 'xyz'"),
        (["get", "bound", "--url", "http://127.0.0.1:9/toy.pth"], "--url is for one model"),
        (["check", "--preset", "huge"], "unknown preset"),
        (["get", "free", "--url", "http://127.0.0.1:9/toy.pth"], "no answer"),
    ]:
        assert cli.main(["models", *args]) == 2
        error = capsys.readouterr().err
        assert error.startswith("tas: ") and error.count("\n") == 1 and words in error


# --- archives ---


def zip_of(path, *members, packing=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in (("set/a.json", "[1]"), ("set/b.p", b"b" * 90), *members):
            archive.writestr(name, data)
    return path


LINK = zipfile.ZipInfo("set/link")
LINK.external_attr = 0o120777 << 16
OUT, DAMAGED = "leads out of the folder", "cannot be unpacked"


def damaged(path, change):
    data = bytearray(zip_of(path, packing=zipfile.ZIP_STORED).read_bytes())
    path.write_bytes(change(data))
    return path


def flipped(data):
    data[data.index(b"bbbb")] ^= 0xFF
    return data


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("write", "words"), [
    (lambda path: zip_of(path, ("../outside.txt", "x")), OUT),
    (lambda path: zip_of(path, ("set/../../outside.txt", "x")), OUT),
    (lambda path: zip_of(path, (LINK, "/etc/passwd")), OUT),
    (lambda path: zip_of(path, ("set/a.json", "[2]")), "holds 'a.json' twice"),
    (lambda path: zip_of(path, ("set/zeros", bytes(20_000_000))), "more than an archive of its si"),
    (lambda path: zip_of(path, packing=zipfile.ZIP_BZIP2), "unusual"),
    (lambda path: damaged(path, lambda data: data[:150]), DAMAGED),
    (lambda path: damaged(path, flipped), DAMAGED),
    (lambda path: damaged(path, lambda _: b"no archive"), DAMAGED),
])  # fmt: skip
def test_bad_archives_leave_nothing(tmp_path, write, words):
    with pytest.raises(TasError, match=words) as error:
        unpack(write(tmp_path / "a.zip"), tmp_path / "to")
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.rglob("*") if p.name != "to"] == ["a.zip"]


def test_archives_are_unpacked_whole(tmp_path):
    archive = zip_of(tmp_path / "a.zip", ("__MACOSX/set/a.json", "junk"))
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "a.json").write_text("old")
    found = unpack(archive, tmp_path / "to", flat=True)
    assert [path.name for path in found] == ["a.json", "b.p"] == files(tmp_path / "to")
    assert (tmp_path / "to" / "a.json").read_text() == "[1]"
    again = unpack(archive, tmp_path / "deep")
    assert again[0] == tmp_path / "deep" / "set" / "a.json" and again[0].is_file()
