"""The published weights: facts with their sources, manifests, and loaders that refuse the rest."""

import json
import os
import pickle
import re
from itertools import islice

import pytest
import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from tasutils import paths, registry
from tasutils.checkpoints import file_fault, load_strict, looks_like, read_state_dict, require_fit
from tasutils.config import load_preset
from tasutils.encoders.openclip import OpenClipEncoder, build_clip
from tasutils.encoders.settings import EncoderConfig
from tasutils.errors import TasError
from tasutils.proposals.sam_net import build_sam
from tasutils.registry import PublishedModel, find_model, load_registry, model_at
from tasutils.tas import require_weights

ASKED_FOR = {
    *("sam_vit_b", "sam_vit_l", "sam_vit_h", "clip_rn50", "clip_vit_b32", "clip_vit_b16"),
    *("clip_vit_l14", "siglip2_vit_b16", "align_base", "albef", "albef_mscoco", "albef_flickr30k"),
    *("bert_base_uncased", "blip2_opt", "blip_base", "freesolo_r101"),
}
CLIP_NAMES = {
    "clip_rn50": ("RN50-quickgelu", "openai"),
    "clip_vit_b32": ("ViT-B-32-quickgelu", "openai"),
    "clip_vit_b16": ("ViT-B-16-quickgelu", "openai"),
    "clip_vit_l14": ("ViT-L-14-quickgelu", "openai"),
    "siglip2_vit_b16": ("ViT-B-16-SigLIP2", "webli"),
}
FILES = [(model, file) for model in load_registry().values() for file in model.files]
ALL_FILES = pytest.mark.parametrize(
    ("model", "file"), FILES, ids=[f"{model.name}-{file.name}" for model, file in FILES]
)


# --- the registry ---


def test_every_model_asked_for_is_there():
    assert set(load_registry()) == ASKED_FOR
    for model in load_registry().values():
        assert set(model.needs) <= ASKED_FOR
        assert model.licence or model.note, model.name
        assert model.noncommercial == ("NVIDIA" in (model.licence or ""))


def test_no_value_stands_without_its_source():
    """Read from the files themselves, past the models that also refuse it."""
    stated = {"url", "size", "sha256", "md5", "licence", "hub", "revision"}
    for path in sorted((paths.ROOT / "tasutils" / "registry").glob("*.yaml")):
        for name, entry in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            for part in [entry, *entry["files"]]:
                values = {key for key in stated & set(part) if part[key] is not None}
                values |= {"name"} & set(part) - ({"name"} if "url" in part else set())
                assert values == set(part["sources"]), f"{path.name}: {name}"
                for text in part["sources"].values():
                    assert len(text) >= 10 and text.lower() not in {"unknown", "assumed"}


def test_a_value_without_source_and_a_source_without_value_are_refused():
    source = "a page that states it"
    file = {"name": "a.pth", "path": "a.pth", "url": "https://example.org/a.pth"}
    good = {"name": "a", "purpose": "b", "licence": None, "sources": {}}

    def model(**stated):
        sources = stated.pop("sources")
        return PublishedModel.model_validate(
            good | {"files": [file | stated | {"sources": dict.fromkeys(sources, source)}]}
        )

    assert model(size=5, sources=["url", "size"]).known_size == (5, True)
    for stated in (
        {"size": 5, "sources": ["url"]},
        {"sources": ["url", "size"]},
        {"sources": []},
        {"sha256": "0" * 63, "sources": ["url", "sha256"]},
        {"size": 0, "sources": ["url", "size"]},
    ):
        with pytest.raises(ValidationError):
            model(**stated)
    with pytest.raises(ValidationError):
        PublishedModel.model_validate(good | {"licence": "MIT", "files": [file]})


@ALL_FILES
def test_places_are_apart_and_digests_are_no_filler(model, file):
    others = [other for m, other in FILES if m.place(other.name) == model.place(file.name)]
    assert others == [file]
    assert model.place(file.name).is_relative_to(paths.WEIGHTS / "paper")
    if file.sha256:
        assert len(set(file.sha256)) > 8
        same = {other.size for _, other in FILES if other.sha256 == file.sha256}
        assert same == {file.size}


def test_the_names_of_sams_files_end_in_the_start_of_their_md5():
    for size in ("vit_b", "vit_l", "vit_h"):
        (file,) = find_model(f"sam_{size}").files
        assert file.md5.startswith(file.name.removesuffix(".pth").rsplit("_", 1)[1])
        assert file.url.endswith(f"/{file.name}")


@pytest.mark.parametrize("name", CLIP_NAMES)
def test_the_hub_names_are_those_of_open_clip(name):
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME
    from open_clip.pretrained import get_pretrained_cfg

    model = find_model(name)
    assert f"{model.hub}/" == get_pretrained_cfg(*CLIP_NAMES[name])["hf_hub"]
    assert model.files[0].name == HF_SAFE_WEIGHTS_NAME


def test_sums_of_sizes_agree_with_what_others_state():
    assert find_model("blip_base").known_size == (990_769_234, True)  # another catalogue's sum
    assert find_model("blip2_opt").known_size == (14_979_207_136, False)


def test_the_preset_paper_names_registered_places():
    found = {f: model_at(path).name for f, path in load_preset("paper").weight_paths().items()}
    assert found["proposals.checkpoint"] == "sam_vit_h"
    assert found["encoder.checkpoint"] == "clip_vit_b32"
    assert found["captioner.checkpoint"] == "blip2_opt"


def test_what_lies_where():
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


# --- manifests: names, shapes and types of every tensor, against the published sizes ---


def safetensors_bytes(tensors, metadata):
    """The size of a .safetensors file of such tensors, worked out without writing it."""
    header = {"__metadata__": metadata} if metadata else {}
    end = 0
    kinds = {torch.float32: "F32", torch.float16: "F16", torch.int64: "I64"}
    for key, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        start, end = end, end + tensor.numel() * tensor.element_size()
        shape = list(tensor.shape)
        header[key] = {"dtype": kinds[tensor.dtype], "shape": shape, "data_offsets": [start, end]}
    text = len(json.dumps(header, separators=(",", ":")).encode())
    return 8 + -(-text // 8) * 8 + end


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_the_worked_out_size_is_the_written_one(tmp_path, metadata):
    tensors = {k: v.contiguous() for k, v in build_clip("tiny-RN").state_dict().items()}
    save_file(tensors, tmp_path / "f.safetensors", metadata)
    size = (tmp_path / "f.safetensors").stat().st_size
    assert safetensors_bytes(tensors, metadata) == size


def clip_on_meta(name):
    import open_clip

    config = open_clip.get_model_config(name)
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    with torch.device("meta"):
        return kind(**config)


@pytest.mark.parametrize("name", CLIP_NAMES)
def test_clips_manifest_gives_the_published_size_to_the_byte(name):
    tensors = clip_on_meta(CLIP_NAMES[name][0]).state_dict()
    assert safetensors_bytes(tensors, None) == find_model(name).files[0].size


def blip2_on_meta():
    """BLIP-2 OPT-2.7b: transformers' defaults but for OPT's sizes.

    OPT: facebook/opt-2.7b (32 layers of 2560, 10240 inside), its vocabulary padded to 50304.
    """
    from transformers import Blip2Config, Blip2ForConditionalGeneration, OPTConfig

    opt = OPTConfig(
        vocab_size=50304,
        hidden_size=2560,
        word_embed_proj_dim=2560,
        ffn_dim=10240,
        num_hidden_layers=32,
        num_attention_heads=32,
        max_position_embeddings=2048,
    )
    with torch.device("meta"):
        return Blip2ForConditionalGeneration(Blip2Config(text_config=opt.to_dict()))


def test_blip2s_manifest_gives_the_size_of_both_shards_to_the_byte():
    tensors = blip2_on_meta().state_dict()
    assert len(tensors) == 1248
    tensors.pop("language_model.lm_head.weight")  # the same tensor as the embedding: stored once
    first = dict(islice(tensors.items(), 995))  # as many as a reader of the shards counted
    second = dict(islice(tensors.items(), 995, None))
    assert len(second) == 252
    sizes = [safetensors_bytes(shard, {"format": "pt"}) for shard in (first, second)]
    assert sizes == [file.size for file in find_model("blip2_opt").files[:2]]


def tensor_bytes(model):
    return sum(t.numel() * t.element_size() for t in model.state_dict().values())


@pytest.mark.parametrize("size", ["vit_b", "vit_l", "vit_h"])
def test_sams_manifest_fits_the_published_size(size):
    """An archive adds its names and padding: 100 to 500 bytes a tensor."""
    with torch.device("meta"):
        sam = build_sam(size)
    added = find_model(f"sam_{size}").files[0].size - tensor_bytes(sam)
    assert 100 <= added / len(sam.state_dict()) <= 500


def blip_on_meta():
    from transformers import BlipConfig, BlipForConditionalGeneration

    with torch.device("meta"):
        return BlipForConditionalGeneration(BlipConfig(vision_config={"image_size": 384}))


def align_on_meta():
    """ALIGN base: transformers' defaults but for 289 px and 640 channels (its config.json)."""
    from transformers import AlignConfig, AlignModel

    with torch.device("meta"):
        return AlignModel(AlignConfig(vision_config={"image_size": 289, "hidden_dim": 640}))


def test_blips_manifest_fits_the_published_size():
    blip = blip_on_meta()
    added = find_model("blip_base").files[0].size - tensor_bytes(blip)
    assert len(blip.state_dict()) == 473 and 0 < added / 473 <= 500


def test_aligns_manifest_has_the_published_number_of_parameters():
    """66 M + 110 M (kakaobrain/coyo-align, README.md); batch norm and projections included."""
    align = align_on_meta()
    millions = {
        part: sum(p.numel() for p in getattr(align, part).parameters()) / 1e6
        for part in ("vision_model", "text_model")
    }
    assert millions["text_model"] == pytest.approx(110, abs=1)
    assert millions["vision_model"] == pytest.approx(62, abs=1)  # 66 with the top that is left out
    assert align.text_projection.weight.shape == (640, 768)


# --- which model a file is of ---


def shapes_of(model):
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def families():
    from small_models import published_shapes

    from tasutils.proposals.freesolo_net import build_freesolo

    with torch.device("meta"):
        for size in ("tiny", "vit_b", "vit_l", "vit_h"):
            yield f"SAM {size}", shapes_of(build_sam(size))
        yield "FreeSOLO", shapes_of(build_freesolo("r101"))
    yield "ALBEF", published_shapes("albef_keys")
    yield "ALBEF", published_shapes("albef_pretrain_keys")
    yield "BLIP-2", shapes_of(blip2_on_meta())
    yield "BLIP", shapes_of(blip_on_meta())
    yield "ALIGN", shapes_of(align_on_meta())
    for name in ("RN50-quickgelu", "ViT-B-32-quickgelu"):
        yield "CLIP", shapes_of(clip_on_meta(name))
    yield "SigLIP of open_clip", shapes_of(clip_on_meta("ViT-B-16-SigLIP2"))
    yield None, {"conv.weight": (3, 3)}


def test_files_are_told_apart_by_their_keys():
    for family, shapes in families():
        assert looks_like(shapes) == family


def test_another_models_file_is_named():
    vit_b = dict(shapes_of_meta("vit_b"))
    state = {key: torch.empty(shape, device="meta") for key, shape in vit_b.items()}
    with pytest.raises(TasError) as error:
        require_fit(shapes_of_meta("vit_h"), state, "sam.pth")
    message = str(error.value)
    assert "they look like those of SAM vit_b" in message and "\n" not in message
    assert re.search(r"280 missing \(image_encoder\.\S+, (\S+, ){4}\.\.\.\)", message)
    assert "(27, 64) for (27, 80)" in message
    assert len(message) < 1500


def shapes_of_meta(size):
    with torch.device("meta"):
        return shapes_of(build_sam(size))


# --- files in the published layouts ---


def flat(state):
    return state


def nested(key):
    return lambda state: {key: state, "epoch": 3}


@pytest.mark.parametrize("layout", [flat, nested("model"), nested("state_dict")])
@pytest.mark.parametrize("zipped", [True, False])
def test_published_layouts_load_back(tmp_path, layout, zipped):
    torch.manual_seed(0)
    state = build_sam("tiny").state_dict()
    path = tmp_path / "sam.pth"
    torch.save(layout(state), path, _use_new_zipfile_serialization=zipped)
    assert file_fault(path) is None
    loaded = build_sam("tiny", path).state_dict()
    assert list(loaded) == list(state) and all(torch.equal(loaded[k], state[k]) for k in state)


@pytest.mark.slow
def test_a_clip_of_the_published_size_is_written_and_read(tmp_path):
    """Random weights, but the file has the published number of bytes and the loader is the real
    one; RN50 is the smallest of the four, the others are compared on the meta device."""
    name = "clip_rn50"
    model_name = CLIP_NAMES[name][0]
    state = {k: v.contiguous() for k, v in build_clip(model_name).state_dict().items()}
    path = tmp_path / "open_clip_model.safetensors"
    save_file(state, path)
    assert path.stat().st_size == find_model(name).files[0].size
    encoder = OpenClipEncoder(EncoderConfig(model=model_name, checkpoint=str(path)))
    loaded = encoder.model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in load_file(path).items())


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
    (folder / "evil2.pth").write_bytes(pickle.dumps({"a": Evil(folder / "owned")}))
    torch.save({"model": ok, "hook": Evil(folder / "owned")}, folder / "evil3.bin")
    torch.save(ok, folder / "whole.pth")
    torch.save(ok, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    save_file(ok, folder / "whole.safetensors")
    for name in ("whole.pth", "legacy.pth", "whole.safetensors"):
        whole = (folder / name).read_bytes()
        (folder / f"half_{name}").write_bytes(whole[: len(whole) // 2])
    (folder / "start.safetensors").write_bytes((folder / "whole.safetensors").read_bytes()[:40])
    (folder / "page.pth").write_text("<!DOCTYPE html>\n<html><title>Not found</title></html>")
    (folder / "answer.safetensors").write_text('{"error": "Repository not found"}')
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 605143284\n"
    (folder / "lfs.pth").write_text(pointer)
    (folder / "lfs.safetensors").write_text(pointer)
    (folder / "empty.pth").touch()
    (folder / "words.pth").write_text("no weights at all")
    (folder / "noise.safetensors").write_bytes(b"\xff" * 200)
    (folder / "torch.safetensors").write_bytes((folder / "whole.pth").read_bytes())
    torch.jit.script(torch.nn.Linear(2, 2)).save(folder / "RN50.pt")
    torch.save([1, 2], folder / "list.pth")
    torch.save({"a": torch.ones(2), "epoch": 3}, folder / "trainer.pth")
    torch.save({}, folder / "nothing.pth")
    return {
        "evil.pth": "asks to run posix.mkdir" if os.name == "posix" else "asks to run",
        "evil2.pth": "the file is damaged",
        "evil3.bin": "it was not run",
        "half_whole.pth": "cut short",
        "half_legacy.pth": "cut short",
        "half_whole.safetensors": "is cut short: [0-9]+ of [0-9]+ bytes",
        "start.safetensors": "table of contents is not whole",
        "page.pth": "page of text",
        "answer.safetensors": "page of text",
        "lfs.pth": "LFS pointer",
        "lfs.safetensors": "LFS pointer",
        "empty.pth": "is empty",
        "words.pth": "damaged",
        "noise.safetensors": "no safetensors file",
        "torch.safetensors": "no safetensors file",
        "RN50.pt": "TorchScript",
        "list.pth": "no tensors by name",
        "trainer.pth": r"1 entries that are no tensors \(epoch\)",
        "nothing.pth": "no tensors by name",
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
    assert read_state_dict(tmp_path / "legacy.pth")["a"].sum() == 1000


def test_the_malicious_file_does_run_when_read_unsafely(tmp_path):
    """Else the test above would prove nothing."""
    torch.save({"a": Evil(tmp_path / "owned")}, tmp_path / "evil.pth")
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert (tmp_path / "owned").is_dir()


def test_load_strict_casts_and_copies():
    model = torch.nn.Linear(2, 1)
    state = {"weight": torch.full((1, 2), 0.5, dtype=torch.float16), "bias": torch.ones(1)}
    load_strict(model, state, "f.pth")
    assert model.weight.dtype == torch.float32 and model.weight.tolist() == [[0.5, 0.5]]
    faulty = {"weight": torch.zeros(2, 2), "scale": torch.ones(1)}
    with pytest.raises(TasError) as error:
        load_strict(model, faulty, "f.pth")
    told = "1 missing (bias); 1 unexpected (scale); 1 of other shape (weight (2, 2) for (1, 2))"
    assert told in str(error.value)
    assert model.weight.tolist() == [[0.5, 0.5]]


def test_registry_loads_no_torch():
    import subprocess
    import sys

    code = "import sys, tasutils.registry.get, tasutils.cli_models; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
    assert registry.load_registry() is registry.load_registry()
