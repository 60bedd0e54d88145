"""`tas models get`: from a real server on this machine, none of them beyond it."""

import hashlib
import json
import sys

import pytest
import torch
from served import Resource, serving

from tasutils import cli, paths, registry
from tasutils.errors import TasError
from tasutils.registry import PublishedModel, fetch, local
from tasutils.registry.fetch import Expected, part_of
from tasutils.registry.get import get_model
from tasutils.registry.hub import hub_address

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
    monkeypatch.setattr(registry, "WEIGHTS", tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(fetch, "CHUNK_BYTES", 1000)


def digest(body):
    return hashlib.sha256(body).hexdigest()


def known(body=BODY):
    return Expected(len(body), digest(body), hashlib.md5(body).hexdigest())


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
    got = fetch.fetch(server.url + "/file.bin", target, expected, lambda *step: steps.append(step))
    assert got == digest(BODY) and target.read_bytes() == BODY
    assert files(tmp_path) == ["file.bin"]
    done = [step[0] for step in steps]
    assert done == sorted(done) and done[0] == 0 and done[-1] == len(BODY)
    assert {step[1] for step in steps} == {len(BODY) if length else None}


def test_redirections_are_followed_with_the_range(server, tmp_path):
    server.resources["/moved.bin"] = Resource(b"", redirect=f"{server.url}/file.bin")
    part_of(tmp_path / "f").write_bytes(BODY[:4000])
    fetch.fetch(server.url + "/moved.bin", tmp_path / "f", known(), quiet)
    assert server.requests[-1] == ("/file.bin", "bytes=4000-", None)
    assert (tmp_path / "f").read_bytes() == BODY


@pytest.mark.parametrize("ranges", [True, False])
def test_half_a_file_is_gone_on_from(server, tmp_path, ranges):
    server.resources["/file.bin"].ranges = ranges
    target = tmp_path / "f"
    part_of(target).write_bytes(BODY[:7000])
    part_of(target).with_name("f.part.tag").write_text('"v1"\n\n')
    steps = []
    fetch.fetch(server.url + "/file.bin", target, Expected(), lambda *s: steps.append(s))
    assert server.requests == [("/file.bin", "bytes=7000-", '"v1"')]
    assert steps[0] == (7000 if ranges else 0, len(BODY))
    assert target.read_bytes() == BODY and files(tmp_path) == ["f"]


def test_another_version_is_fetched_anew(server, tmp_path):
    server.resources["/file.bin"].etag = '"v2"'
    target = tmp_path / "f"
    part_of(target).write_bytes(b"?" * 7000)
    part_of(target).with_name("f.part.tag").write_text('"v1"\n\n')
    fetch.fetch(server.url + "/file.bin", target, Expected(), quiet)
    assert target.read_bytes() == BODY


def test_a_half_file_of_unknown_version_is_not_gone_on_from(server, tmp_path):
    part_of(tmp_path / "f").write_bytes(b"?" * 7000)
    fetch.fetch(server.url + "/file.bin", tmp_path / "f", Expected(), quiet)
    assert server.requests == [("/file.bin", None, None)]
    assert (tmp_path / "f").read_bytes() == BODY


@pytest.mark.parametrize("size", [len(BODY), len(BODY) + 5])
def test_a_part_that_is_whole_or_too_long(server, tmp_path, size):
    target = tmp_path / "f"
    part_of(target).write_bytes((BODY + b"+++++")[:size])
    fetch.fetch(server.url + "/file.bin", target, known(), quiet)
    assert target.read_bytes() == BODY
    assert len(server.requests) == (0 if size == len(BODY) else 1)


def test_nothing_behind_the_part_means_another_version(server, tmp_path):
    target = tmp_path / "f"
    part_of(target).write_bytes(b"?" * (len(BODY) + 9))
    part_of(target).with_name("f.part.tag").write_text('"v1"\n\n')
    fetch.fetch(server.url + "/file.bin", target, Expected(), quiet)  # 416 at first
    assert [r[1] for r in server.requests] == [f"bytes={len(BODY) + 9}-", None]
    assert target.read_bytes() == BODY


def test_a_connection_that_breaks_is_taken_up_again(server, tmp_path):
    server.resources["/file.bin"].cut_after = 4096
    fetch.fetch(server.url + "/file.bin", tmp_path / "f", known(), quiet)
    assert [r[1] for r in server.requests] == [None, "bytes=4096-", "bytes=8192-"]
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_connection_that_breaks_for_good_keeps_what_came(server, tmp_path):
    server.resources["/file.bin"] = Resource(BODY, ranges=False, cut_after=4096)
    with pytest.raises(TasError, match="broke after 4096 of 10240 bytes.*same command") as error:
        fetch.fetch(server.url + "/file.bin", tmp_path / "f", Expected(), quiet)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "f").exists() and part_of(tmp_path / "f").stat().st_size == 4096
    server.resources["/file.bin"] = Resource(BODY)  # the next day
    fetch.fetch(server.url + "/file.bin", tmp_path / "f", Expected(), quiet)
    assert (tmp_path / "f").read_bytes() == BODY and files(tmp_path) == ["f"]


def test_ctrl_c_keeps_what_came(server, tmp_path):
    def impatient(done, total):
        if done >= 3000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.fetch(server.url + "/file.bin", tmp_path / "f", known(), impatient)
    assert part_of(tmp_path / "f").stat().st_size == 3000
    fetch.fetch(server.url + "/file.bin", tmp_path / "f", known(), quiet)
    assert server.requests[-1][1:] == ("bytes=3000-", '"v1"')
    assert (tmp_path / "f").read_bytes() == BODY


def test_wrong_bytes_are_not_kept(server, tmp_path):
    server.resources["/file.bin"].body = BODY[:-1] + b"!"
    (tmp_path / "f").write_bytes(b"the old one")
    with pytest.raises(TasError, match=r"SHA-256 [0-9a-f]{64}, not .* nothing of it is kept"):
        fetch.fetch(server.url + "/file.bin", tmp_path / "f", known(), quiet)
    assert files(tmp_path) == ["f"] and (tmp_path / "f").read_bytes() == b"the old one"


def test_a_mixture_of_two_versions_is_found_by_its_digest(server, tmp_path):
    server.resources["/file.bin"].etag = None
    part_of(tmp_path / "f").write_bytes(b"?" * 7000)
    with pytest.raises(TasError, match="SHA-256"):
        fetch.fetch(server.url + "/file.bin", tmp_path / "f", known(), quiet)
    assert files(tmp_path) == []
    fetch.fetch(server.url + "/file.bin", tmp_path / "f", known(), quiet)
    assert (tmp_path / "f").read_bytes() == BODY


def test_another_size_is_known_before_the_download(server, tmp_path):
    server.resources["/file.bin"].body = BODY[:5000]
    with pytest.raises(TasError, match="has 5000 bytes, not 10240 as published"):
        fetch.fetch(server.url + "/file.bin", tmp_path / "f", known(), quiet)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "does not exist"), (401, "login"), (403, "refused"), (410, "no more"), (503, "503")],
)
def test_refusals_are_one_line(server, tmp_path, status, words):
    server.resources["/file.bin"].status = status
    with pytest.raises(TasError, match=words) as error:
        fetch.fetch(server.url + "/file.bin", tmp_path / "f", known(), quiet)
    assert "\n" not in str(error.value) and files(tmp_path) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/f", "gopher://127.0.0.1/f", "file:///no/f"])
def test_no_answer_is_one_line(tmp_path, url):
    with pytest.raises(TasError, match=r"no answer from .*--url") as error:
        fetch.fetch(url, tmp_path / "f", known(), quiet)
    assert "\n" not in str(error.value) and files(tmp_path) == []


def test_a_full_disk_is_known_before_and_told_when_it_comes(server, tmp_path, monkeypatch):
    full = type("Usage", (), {"free": 100})
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    with pytest.raises(TasError, match="10240 bytes do not fit.*100 free"):
        fetch.fetch(server.url + "/file.bin", tmp_path / "f", known(), quiet)
    monkeypatch.undo()

    class Full:
        name = str(tmp_path / "f.part")

        def write(self, chunk):
            raise OSError(28, "No space left on device")

    with serving() as other, pytest.raises(TasError, match=r"cannot write .*No space left"):
        other.resources["/f"] = Resource(BODY)
        answer = fetch.open_url(other.url + "/f", {}, "f")
        with answer:
            fetch._copy(answer, Full(), 0, len(BODY), quiet)


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


def test_a_file_of_unknown_digest_is_noted_and_later_damage_found(server, weights):
    body = torch_file(weights)
    server.resources["/toy.pth"] = Resource(body)
    toy = model()
    assert local.faults(toy) == [f"{toy.home()} is missing"] and not local.present(toy)
    assert get_model(toy, bar, f"{server.url}/toy.pth") == 1
    assert local.faults(toy) == [] and toy.home().read_bytes() == body
    assert get_model(toy, bar, f"{server.url}/toy.pth") == 0
    toy.home().write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    assert "SHA-256" in local.faults(toy)[0] and local.faults(toy, every_byte=False) == []
    assert get_model(toy, bar, f"{server.url}/toy.pth") == 1
    assert local.faults(toy) == []
    (weights / "received" / "toy.json").write_text("{")
    assert local.faults(toy) == []  # without the note the file is only looked at


def torch_file(folder):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model": {"a": torch.ones(5)}}, folder / "made.pth")
    return (folder / "made.pth").read_bytes()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!DOCTYPE html><title>Sign in</title>", "page of text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "LFS pointer"),
        (b"", "is empty"),
    ],
)
def test_what_is_no_weights_is_not_kept(server, weights, body, words):
    server.resources["/toy.pth"] = Resource(body)
    with pytest.raises(TasError, match=words) as error:
        get_model(model(), bar, f"{server.url}/toy.pth")
    assert "\n" not in str(error.value) and files(weights) == []


def test_half_a_download_put_there_by_hand_is_found(weights):
    body = torch_file(weights)
    toy = model()
    toy.home().parent.mkdir()
    toy.home().write_bytes(body[: len(body) // 2])
    assert "cut short" in local.faults(toy)[0]


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
    assert local.faults(toy) == []
    n_requests = len(server.requests)
    assert get_model(toy, bar, server.url) == 0 and len(server.requests) == n_requests
    (toy.home() / "vocab.txt").unlink()
    assert local.faults(toy) == [f"{toy.home() / 'vocab.txt'} is missing"]
    assert get_model(toy, bar, server.url) == 1
    (weights / "received" / "toy.json").unlink()
    (toy.home() / "pytorch_model.bin").unlink()
    assert "lacks model.safetensors or pytorch_model.bin" in local.faults(toy)[0]


def test_the_hubs_own_digest_is_compared(server, weights):
    contents = {"toy.pth": torch_file(weights)}
    hub_repository(server, "org/toy", "main", contents, large={"toy.pth"})
    served = server.resources["/org/toy/resolve/main/toy.pth"]
    served.body = served.body[:-1] + b"\x07"
    with pytest.raises(TasError, match="SHA-256"):
        get_model(model(hub="org/toy"), bar, server.url)
    assert not (weights / "paper" / "toy.pth").exists()


def test_the_hub_library_reads_our_list_alike(server):
    """Our fake list has the form that huggingface_hub reads."""
    from huggingface_hub.hf_api import ModelInfo

    from tasutils.registry.hub import list_repository

    hub_repository(server, "org/toy", "main", {"a.json": b"{}", "b.bin": BODY}, large={"b.bin"})
    listed = list_repository(model(hub="org/toy"), server.url)
    path = "/api/models/org/toy/revision/main?blobs=true"
    theirs = ModelInfo(**json.loads(server.resources[path].body)).siblings
    assert {s.rfilename: (s.size, s.lfs and s.lfs.sha256) for s in theirs} == {
        name: (entry.size, entry.sha256) for name, entry in listed.items()
    }


def test_what_is_no_hub_is_one_line(server, weights):
    server.resources["/api/models/org/toy/revision/main?blobs=true"] = Resource(b"<html>")
    with pytest.raises(TasError, match="no list of a repository"):
        get_model(model(hub="org/toy"), bar, server.url)
    hub_repository(server, "org/toy", "main", {"README.md": b"moved"})
    folder = {"folder": "paper/toy", "files": [{"name": "c.json", "sources": {"name": SOURCE}}]}
    with pytest.raises(TasError, match=r"has no file \*.json"):
        get_model(model(hub="org/toy", also=[["*.json"]], **folder), bar, server.url)


def test_addresses(monkeypatch, weights):
    assert hub_address() == "https://huggingface.co"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9/")
    assert hub_address() == "http://127.0.0.1:9"
    for url in ("file.pth", "http://127.0.0.1:9/mirror"):
        with pytest.raises(TasError, match="--url"):
            get_model(model(), bar, url)


def test_no_room_for_the_whole_model(weights, monkeypatch):
    full = type("Usage", (), {"free": 100})
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    with pytest.raises(TasError, match=r"sam_vit_h needs 2.6 GB more"):
        get_model(registry.find_model("sam_vit_h"), bar)


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
    monkeypatch.setattr(registry, "load_registry", lambda: {"free": free, "bound": bound})
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
        "tasutils.registry.get.fetch",
        lambda *args: order.append(capsys.readouterr().out) or pytest.fail("not this far"),
    )
    with pytest.raises(pytest.fail.Exception):
        cli.main(["models", "get", "bound"])
    assert "NON-COMMERCIAL" in order[0] and "mind it" in order[0] and "NC" in order[0]


def test_wrong_bytes_from_a_mirror(toys, weights, capsys):
    toys.resources["/toy.pth"].body = bytes(len(toys.resources["/toy.pth"].body))
    assert cli.main(["models", "get", "free", "--url", f"{toys.url}/toy.pth"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tas: ") and error.count("\n") == 1 and "SHA-256" in error
    assert files(weights) == ["made.pth"]


def test_control_c_is_told(toys, capsys, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("tasutils.registry.get.fetch", interrupt)
    assert cli.main(["models", "get", "free"]) == 130
    streams = capsys.readouterr()
    assert streams.err == "tas: interrupted\n" and "same command goes on" in streams.out


def test_the_bar(toys, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert cli.main(["models", "get", "free", "--url", f"{toys.url}/toy.pth"]) == 0
    assert "free.pth" in capsys.readouterr().err


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
