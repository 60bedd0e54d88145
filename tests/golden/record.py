"""The nailed behaviour: `python tests/golden/record.py [STEP ...]` writes it, test_golden compares.

Recorded at commit 33d3a66, before the package was made thin. A step is recorded anew only after a
wanted change, which notebooks/LOG.md names. `scenes` runs the networks; all other exact steps stand
on the committed scenes and texts alone, so that every number in them is arithmetic.

What is asked stands in asked.yaml and sentences.txt. All that is asked of the package is asked in
the first part of this file.
"""

from __future__ import annotations

import json
import sys
import tempfile
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))  # small_models
FAMILIES = ("refscenes", "refscenes+", "refscenesg", "phrasescenes")
# a preset's own pictures: group -> preset, data sets, split, pictures
GROUPS = {
    "val": ("tiny", FAMILIES, "val", 40),
    "valP": ("photo", FAMILIES, "valP", 4),
    "photos7": ("photo", ("photos7",), "all", 7),
}
ASKED = yaml.safe_load((HERE / "asked.yaml").read_text(encoding="utf-8"))
SENTENCES = (HERE / "sentences.txt").read_text(encoding="utf-8").splitlines()
TEXTS = [*ASKED["texts"], "word " * 90]
N_SWITCHED, EVERY, N_EVALUATED = 10, 10, 40
N_PEER_PICTURES, N_PEER_SENTENCES = 8, 2

# ------------------------------------------------------------------ what is asked of the package


def load(preset: str, changes: dict[str, Any] | None = None, encoder: Any = None) -> Any:
    """A `TAS` of a preset with settings changed, by their dotted names."""
    from tasutils.config import load_preset
    from tasutils.tas import TAS

    return TAS(load_preset(preset).override(changes or {}), encoder=encoder, device="cpu")


def dataset(name: str, split: str) -> Any:
    from tasutils.datasets import load_dataset

    return load_dataset(name, split)


def scene_of(row: dict[str, Any], digest: str = "") -> Any:
    """A `Scene` from a row of scenes.parquet."""
    from tasutils.masks import decode_rle
    from tasutils.scene import Proposals, Scene

    size, dim = (row["height"], row["width"]), row["dim"]
    masks = decode_rle([{"size": [*size], "counts": counts} for counts in row["rles"]], size)

    def rows(name: str) -> NDArray[np.float32]:
        return np.frombuffer(row[name], "<f2").astype(np.float32).reshape(-1, dim)

    same = {name: row[name] for name in ("image_id", "image_caption", "image_caption_raw")}
    listed = {name: list(row[name]) for name in ("captions", "captions_raw", "phrases")}
    return Scene(
        **same, **listed, size_hw=size, times_s={}, describe_digest=digest,
        proposals=Proposals.from_masks(
            masks, np.array(row["predicted_iou"], "f4"), np.array(row["stability"], "f4")
        ),
        views={"crop": rows("crops")}, phrase_embeddings=rows("phrase_rows"),
        caption_embeddings=rows("caption_rows")[list(row["caption_row"])].reshape(-1, dim),
    )  # fmt: skip


def row_of(scene: Any, group: str) -> dict[str, Any]:
    """The row of scenes.parquet of a described scene; its inverse is `scene_of`."""
    proposals, counts = scene.proposals, [rle["counts"] for rle in scene.proposals.rles]
    unique, place = np.unique(scene.caption_embeddings, axis=0, return_inverse=True)
    half = {
        "crops": scene.crop_embeddings, "caption_rows": unique,
        "phrase_rows": scene.phrase_embeddings,
    }  # fmt: skip
    return {
        "group": group, "image_id": scene.image_id, "height": scene.size_hw[0],
        "width": scene.size_hw[1], "dim": scene.crop_embeddings.shape[1],
        "rles": [c.decode() if isinstance(c, bytes) else c for c in counts],
        "predicted_iou": proposals.predicted_iou.tolist(),
        "stability": proposals.stability.tolist(),
        **{name: rows.astype("<f2").tobytes() for name, rows in half.items()},
        "caption_row": place.reshape(-1).tolist(), "captions": scene.captions,
        "captions_raw": scene.captions_raw, "image_caption": scene.image_caption,
        "image_caption_raw": scene.image_caption_raw, "phrases": scene.phrases,
    }  # fmt: skip


def directions_of(found: Any) -> list[Any]:
    return [[d.name, d.token, *d.span, d.skipped] for d in found]


def plain_answer(answer: Any) -> dict[str, Any]:
    """All that an answer says, as plain values."""
    expression = answer.expression
    candidates = [
        [c.index, c.phrase, c.noun, round(c.similarity, 12), c.kept, c.reason]
        for c in answer.candidates
    ]

    def index(chosen: int | None) -> int:
        return -1 if chosen is None else int(chosen)

    return {
        "chosen": index(answer.best),
        **{name: [float(x) for x in answer.terms[name]] for name in "vpn"},
        "total": [float(x) for x in answer.total],
        "in_region": [bool(x) for x in answer.in_region],
        "yields": [bool(x) for x in answer.yields], "rank": [int(x) for x in answer.rank],
        "rectified": bool(answer.rectified), "unrectified": index(answer.unrectified),
        "truncated": bool(answer.truncated), "negatives": json.dumps(list(answer.negatives)),
        "candidates": json.dumps(candidates), "text": expression.text,
        "phrase": expression.phrase, "reason": answer.reason,
        "directions": json.dumps(directions_of(expression.directions)),
        "skipped": json.dumps(directions_of(expression.skipped)),
        "parts": json.dumps(list(expression.parts)),
        "alpha": float(answer.weights["p"]), "lam": float(answer.weights["n"]),
        "area": int(answer.mask().sum()) if len(answer.scene.proposals) else 0,
    }  # fmt: skip


def answer_json(answer: Any, preset: Any) -> dict[str, Any]:
    """What `tas segment` writes as answer.json, but for digests and times."""
    from tasutils.cli import answer_json as record

    content = record(answer, preset, Path("picture.png"))
    for name in ("preset_digest", "describe_digest", "times_s", "weights"):
        content.pop(name)
    return content


def evaluated(data: list[Any], tas: Any, scenes: dict[str, Any], n: int, out: Path) -> list[Any]:
    """(samples, scores, metrics, folder) of each data set's run over its first n pictures."""
    from tasutils.evaluate import evaluate_all
    from tasutils.images import read_image
    from tasutils.runs import read_run
    from tasutils.store import SceneStore, scene_key

    digest, store = tas.preset.describe_digest(), SceneStore(out / "scenes")
    paths = {i: d.image_path(i) for d in data for i in d.image_ids[:n]}
    with store:
        for i, path in paths.items():
            store.put(scene_key(read_image(path), digest), scene_of(scenes[i], digest))
    found = []
    for folder in evaluate_all(data, tas, limit_images=n, store=store, progress=False, out=out):
        run = read_run(folder)
        metrics = {k: [m.value, m.low, m.high, m.n] for k, m in run.record.metrics.items()}
        new = {c: c.removeprefix("term_").removeprefix("alt_") for c in run.scores}
        scores = run.scores.rename(columns=new)  # as at commit 33d3a66
        if "yields_official" not in scores:
            scores = scores.assign(yields_official=False)
        found.append((run.samples, scores, metrics, folder))
    return found


def swept(folders: list[Path]) -> pd.DataFrame:
    """A small grid of all rules and forms over stored runs, columns as at commit 33d3a66."""
    from tasutils.runs import read_run
    from tasutils.sweep import sweep

    runs = [read_run(folder) for folder in folders]
    grid = sweep(runs, {"p": (0.0, 0.1, 1.0), "n": (0.0, 0.3, 2.0)}, ("all",), ("all",))
    grid = grid.rename(columns={"weight_p": "alpha", "weight_n": "lam"})
    return grid[["dataset", "synonyms", "rectifier", "alpha", "lam", "n", "oiou", "miou"]]


def peer_scores(name: str, tas: Any, data: str, scene: Any, texts: list[str], image: Any) -> Any:
    """Scores of a method for each sentence, float64 (sentences, masks)."""
    from tasutils.baselines import answers_of, make_method
    from tasutils.refer import parse_expression

    # the default was that of the article
    switches = {"norms": "article"} if name == "global_local_rn" else {}
    method = make_method(name, tas, data, **switches)
    read = [parse_expression(text, tas.language, tas.preset) for text in texts]
    found = answers_of(method, scene, read, image)
    return np.array([1.0 - one.rank if name == "tas" else one.total for one in found])


def reading(text: str) -> dict[str, Any]:
    """All that the rules read from a sentence."""
    from tasutils.language.parse import Parser
    from tasutils.language.reading import read_directions
    from tasutils.language.released import read

    parse, released = Parser().parse(text), read("en_core_web_sm", text.lower())
    forms = {
        f"{form} {matching}": directions_of(read_directions(text, form, matching))
        for form in ("paper", "extended", "official") for matching in ("token", "substring")
    }  # fmt: skip
    return {
        "phrase": parse.phrase, "head": parse.head, "head_words": list(parse.head_words),
        "chunks": list(parse.chunks), "forms": forms, "first_noun": parse.first_noun,
        "released": [
            released.phrase, released.entity,
            [[list(r.words), r.object] for r in released.relations],
            [list(s) for s in released.superlatives], released.shut(released.phrase),
        ],
    }  # fmt: skip


def noun_pair(a: str, b: str) -> list[float]:
    from tasutils.language.wordnet import path_similarity, similar_pairs

    return [round(path_similarity(a, b), 12), similar_pairs(a, b), similar_pairs(a, b, 0.3)]


def crops(image: Any, scene: Any, settings: dict[str, Any]) -> NDArray[np.float32]:
    """The masked crops of a scene, float32 (n, 3, 16, 16)."""
    from tasutils.config import load_preset
    from tasutils.crops import masked_crops

    changes = {f"crop.{name}": value for name, value in settings.items()}
    config, proposals = load_preset("tiny").override(changes).crop, scene.proposals
    return np.asarray(masked_crops(image, proposals.masks(), proposals.boxes_xyxy, 16, config))


def filtered(scene: Any, min_area_px: int, max_overlap: float, greedy: bool) -> list[int]:
    """Which masks of a scene the overlap filter keeps."""
    from tasutils.masks import overlap_filter

    rles, areas = scene.proposals.rles, scene.proposals.areas_px
    return [int(k) for k in overlap_filter(rles, areas, min_area_px, max_overlap, greedy)]


def cleaned(raw: str) -> str:
    from tasutils.captioners import clean_caption

    return clean_caption(raw)


def heatmap(name: str, tas: Any, image: Any, text: str) -> NDArray[np.float32]:
    """An activation method's map, as 6 x 8 means."""
    from tasutils.baselines import make_method
    from tasutils.refer import parse_expression

    found = make_method(name, tas).heatmap(image, parse_expression(text, tas.language, tas.preset))
    rows = [np.array_split(row, 8, axis=1) for row in np.array_split(found, 6)]
    return np.array([[block.mean() for block in row] for row in rows], "f4")


def small_albef(folder: Path) -> Any:
    """A small ALBEF of random weights."""
    from small_models import write_albef

    from tasutils.encoders import AlbefConfig
    from tasutils.encoders.albef import AlbefEncoder

    shape = write_albef(folder)
    config = AlbefConfig(
        checkpoint=str(folder / "retrieval.pth"), tokenizer=str(folder), image_size=48
    )
    return AlbefEncoder(config, shape=shape)


# ------------------------------------------------------------------ what is recorded


class Texts:
    """A text tower that looks up; what it does not know it asks of a real one, when recording."""

    image_size, device = 8, "cpu"

    def __init__(self, preset: str, real: Any = None) -> None:
        self.preset, self.real = preset, real
        self.rows: dict[str, NDArray[np.float32]] = {}
        if (HERE / "texts.parquet").exists():
            table = pd.read_parquet(HERE / "texts.parquet").query("preset == @preset")
            rows = (np.frombuffer(v, "<f2").astype("f4") for v in table["vector"])
            self.rows = dict(zip(table["text"], rows, strict=True))
        known = (
            numbers_of(real) if real else json.loads((HERE / "encoders.json").read_text())[preset]
        )
        self.__dict__ |= known

    def encode_text(self, texts: Any) -> NDArray[np.float32]:
        missing = [text for text in dict.fromkeys(texts) if text not in self.rows]
        if missing and self.real is None:
            raise AssertionError(f"these were never asked when the golden was made: {missing}")
        for text in missing:
            self.rows[text] = self.real.encode_text([text])[0].astype("<f2").astype("f4")
        return np.array([self.rows[t] for t in texts], "f4").reshape(len(texts), -1)

    def encode_images(self, images: object) -> Any:
        raise AssertionError("no sentence needs a picture")

    def table(self) -> pd.DataFrame:
        vectors = [row.astype("<f2").tobytes() for row in self.rows.values()]
        return pd.DataFrame({"preset": self.preset, "text": list(self.rows), "vector": vectors})


def numbers_of(tower: Any) -> dict[str, Any]:
    names = ("dim", "context_length", "logit_scale")
    return {n: value for n in names if (value := getattr(tower, n, None)) is not None}


@cache
def scenes(group: str) -> dict[str, dict[str, Any]]:
    """The committed scenes of a group by image id, as rows."""
    rows = pd.read_parquet(HERE / "scenes.parquet").to_dict("records")
    return {row["image_id"]: row for row in rows if row["group"] == group}


def asked(group: str) -> list[tuple[str, str, str, str]]:
    """(data set, sample id, image id, sentence) of a group's pictures."""
    _, names, split, n = GROUPS[group]
    return [
        (name, sample.sample_id, image_id, sample.text)
        for name in names
        for image_id, samples in list(dataset(name, split).by_image().items())[:n]
        for sample in samples
    ]


def described() -> list[dict[str, Any]]:
    rows = []
    for group, (preset, names, split, n) in GROUPS.items():
        tas = load(preset)
        ids = {i: d for d in (dataset(x, split) for x in names) for i in d.image_ids[:n]}
        for image_id, data in ids.items():
            print(group, image_id, file=sys.stderr)
            rows.append(row_of(tas.describe(data.image_path(image_id), image_id=image_id), group))
    return rows


def answers(group: str, texts: Texts, rows: Any = None) -> pd.DataFrame:
    """One row a sentence of a group (or those rows), with all that the answer says.

    The totals are left out of the file: they are v + alpha p + lam n, which the test asks.
    """
    tas = load(GROUPS[group][0], encoder=texts)
    made = {image_id: scene_of(row) for image_id, row in scenes(group).items()}
    return pd.DataFrame([
        {"dataset": name, "sample_id": sample, "image_id": image_id,
         **plain_answer(tas.refer(made[image_id], text, dataset=name))}
        for name, sample, image_id, text in rows or asked(group)
    ])  # fmt: skip


def switched(texts: Texts) -> pd.DataFrame:
    """Some sentences answered with each switch."""
    here = list(scenes("val"))[:N_SWITCHED]
    some = [row for row in asked("val") if row[2] in here][::EVERY]
    own = [(FAMILIES[k % 4], "", here[k % len(here)], text) for k, text in enumerate(SENTENCES)]
    made = {image_id: scene_of(scenes("val")[image_id]) for image_id in here}
    # with a single mask, and with none
    made |= {f"{k} masks": first_masks(here[0], k) for k in (0, 1)}
    own += [(FAMILIES[0], "", f"{k} masks", text) for k in (0, 1) for text in SENTENCES[:3]]
    rows = []
    for switch, changes in ASKED["switches"].items():
        tas = load("tiny", changes, texts)
        for name, _, image_id, text in some + own:
            answer = plain_answer(tas.refer(made[image_id], text, dataset=name))
            totals = np.array(answer["total"])
            rows.append({
                "switch": switch, "dataset": name, "image_id": image_id, "asked": text,
                "sum": float(np.nansum(totals)), "n_nan": int(np.isnan(totals).sum()),
                "best": float(totals[answer["chosen"]]) if answer["chosen"] >= 0 else -9.0,
                "regions": "".join("01"[x] for x in answer["in_region"]),
                "yielding": "".join("01"[x] for x in answer["yields"]),
                "ranks": " ".join(map(str, answer["rank"])),
                **{k: answer[k] for k in ("chosen", "phrase", "negatives", "directions",
                                          "skipped", "parts", "reason", "unrectified")},
            })  # fmt: skip
    return pd.DataFrame(rows)


def first_masks(image_id: str, k: int) -> Any:
    """A committed scene with its first k masks alone."""
    row = scenes("val")[image_id]
    names = ("rles", "predicted_iou", "stability", "caption_row", "captions", "captions_raw")
    kept = {name: row[name][:k] for name in names}
    return scene_of(row | kept | {"crops": row["crops"][: k * 2 * row["dim"]]})


def runs(texts: Texts) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any], pd.DataFrame]:
    """Samples, scores and metrics of runs over the val pictures, and a sweep over them."""
    with tempfile.TemporaryDirectory() as folder:
        data, tas = [dataset(name, "val") for name in FAMILIES], load("tiny", encoder=texts)
        made = evaluated(data, tas, scenes("val"), N_EVALUATED, Path(folder))
        grid = swept([run[3] for run in made])
    found = dict(zip(FAMILIES, made, strict=True))
    samples = pd.concat([run[0].assign(dataset=name) for name, run in found.items()])
    scores = pd.concat([
        run[1].drop(columns=["v", "p", "n"]).assign(dataset=name)  # as in the answers
        for name, run in found.items()
    ])  # fmt: skip
    return samples, scores, {name: run[2] for name, run in found.items()}, grid


def language() -> dict[str, Any]:
    """What the rules read from hard sentences, and what WordNet says of pairs of nouns."""
    pairs = {f"{a}|{b}": noun_pair(a, b) for a, b in product(ASKED["nouns"], repeat=2) if a <= b}
    return {"readings": {text: reading(text) for text in SENTENCES}, "pairs": pairs}


def json_answers(texts: Texts) -> list[dict[str, Any]]:
    """answer.json of a few sentences of the first picture, and of a scene without masks."""
    tas, rows = load("tiny", encoder=texts), scenes("val")
    first = next(iter(rows))
    made = scene_of(rows[first]), first_masks(first, 0)
    return [answer_json(tas.refer(s, text), tas.preset) for s in made for text in SENTENCES[:3]]


def peers() -> pd.DataFrame:
    """Scores of every method on a few pictures; these run networks."""
    from tasutils.images import read_image

    rows, tas, data = [], load("tiny"), dataset("refscenes", "val")
    for image_id in list(scenes("val"))[:N_PEER_PICTURES]:
        scene, image = scene_of(scenes("val")[image_id]), read_image(data.image_path(image_id))
        texts = [s.text for s in data.by_image()[image_id]][:N_PEER_SENTENCES]
        for name in ASKED["peers"]:
            found = peer_scores(name, tas, "refscenes", scene, texts, image)
            rows += [{"method": name, "image_id": image_id, "text": text,
                      "scores": row.astype("f4").tolist(), "chosen": int(np.argmax(row))}
                     for text, row in zip(texts, found, strict=True)]  # fmt: skip
    return pd.DataFrame(rows)


def noise(side: int, n: int = 3) -> Any:
    """Float32 (n, 3, side, side): pictures of many brightnesses, as a tensor."""
    import torch

    rng = np.random.default_rng(0)
    pixels = rng.random((n, 3, side, side)) * rng.random((n, 1, 1, 1)) + rng.random((n, 3, 1, side))
    return torch.from_numpy((pixels / 2).astype("f4"))


def small_networks(folder: Path) -> dict[str, Any]:
    """Small networks of the published architectures with seeded weights: rows and words."""
    import small_models

    found: dict[str, Any] = {}
    encoders = {
        "clip": {"model": "test-ViT", "checkpoint": str(small_models.write_clip(folder))},
        "siglip": {"model": "test-SigLIP", "tokenizer": small_models.write_siglip(folder / "s")},
        "align": {"kind": "align", "checkpoint": str(small_models.write_align(folder / "align"))},
    }
    made = {name: load("tiny", {"encoder": {"kind": "openclip"} | settings}).encoder
            for name, settings in encoders.items()}  # fmt: skip
    made["albef"] = small_albef(folder / "albef")
    for name, encoder in made.items():
        found[f"{name} images"] = encoder.encode_images(noise(encoder.image_size))
        found[f"{name} texts"] = encoder.encode_text(TEXTS)
        if name in ("align", "albef"):
            found[f"{name} places"] = encoder.encode_dense(noise(encoder.image_size, 1))
            image = (255 * noise(64, 1)[0].permute(1, 2, 0).numpy()).astype(np.uint8)
            for method in ("score_map", "grad_cam"):
                tas = load("tiny", encoder=encoder)
                tas.__dict__["peer_encoder"] = encoder
                found[f"{name} {method}"] = heatmap(method, tas, image, "the dog")
    for name, beams in product(("blip2", "blip", "vit_gpt2", "git"), (1, 3)):
        if not (folder / name).exists():
            getattr(small_models, f"write_{name}")(folder / name)
        captioner = {
            "kind": "image_to_text", "checkpoint": str(folder / name), "num_beams": beams,
            "max_new_tokens": 9, "min_length": 1,
            "crop": {"fill": "black", "pad_square": True, "blur_kernel_px": 75},
        }  # fmt: skip
        made_captioner = load("tiny", {"captioner": captioner}).captioner
        found[f"{name} {beams}"] = made_captioner.caption(noise(48, 4))
    return found


def networks() -> dict[str, Any]:
    """What the networks of every room say of one or two pictures: arrays, and texts in lists."""
    from tasutils.images import read_image

    data = dataset("refscenes", "val")
    first, second = list(scenes("val"))[:2]
    image, scene = read_image(data.image_path(first)), scene_of(scenes("val")[first])
    found: dict[str, Any] = {}
    for name, changes in ASKED["proposers"].items():
        proposals = load("tiny", changes).proposer(read_image(data.image_path(second)))
        found[f"{name} areas"] = np.sort(proposals.areas_px).astype("f4")
        found[f"{name} scores"] = np.sort(np.asarray(proposals.predicted_iou, "f4"))
    for name, changes in ASKED["redescribed"].items():
        made = load("tiny", changes).describe(image, image_id=first)
        found[f"{name} crops"] = made.crop_embeddings[:, :16]
        found[f"{name} captions"] = [*made.captions, made.image_caption, "phrases:", *made.phrases]
        found[f"{name} phrases"] = made.phrase_embeddings[:, :16]
    kinds = product(("black", "blur", "mean"), ("exact", "released"), ("float", "clip", "blip"),
                    (True, False))  # fmt: skip
    for kind in kinds:
        settings = dict(zip(("fill", "geometry", "resize", "pad_square"), kind, strict=True))
        cut = crops(image, scene, settings | {"blur_kernel_px": 15})[:3]
        found[f"crops {' '.join(map(str, kind))}"] = cut.mean(axis=1).astype("f4")
    tas, photo = load("tiny"), load("photo", {"compute.crop_batch": 4})  # every batch is filled
    for method in ASKED["maps"]:
        found[f"map {method}"] = heatmap(method, tas, image, "the dog on the left")
    found["conse images"] = photo.encoder.encode_images(noise(photo.encoder.image_size))[:, :32]
    found["conse texts"] = photo.encoder.encode_text(TEXTS)[:, :32]
    found["composed"] = photo.captioner.caption(noise(photo.captioner.image_size))
    with tempfile.TemporaryDirectory() as folder:
        found |= small_networks(Path(folder))
    return found


def rules() -> dict[str, Any]:
    """What no shipped preset reaches: the filter's rule for pairs, and captions cleaned."""
    kept = {
        f"{image_id} {least} {most} {greedy}": filtered(scene_of(row), least, most, greedy)
        for image_id, row in list(scenes("val").items())[:6]
        for least, most, greedy in product((0, 400), (0.4, 0.8), (False, True))
    }
    raw = ASKED["captions"].split("|")
    return {"overlap": kept, "captions": {text: cleaned(text) for text in raw}}


# ------------------------------------------------------------------ writing


def write(name: str, table: pd.DataFrame) -> None:
    path = HERE / f"{name}.parquet"
    table = table.reset_index(drop=True)
    table.to_parquet(path, index=False, compression="zstd", compression_level=19)
    print(name, path.stat().st_size, len(table), file=sys.stderr)


def write_json(name: str, content: Any) -> None:
    text = json.dumps(content, indent=0, ensure_ascii=False, allow_nan=False)
    (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(name, len(text), file=sys.stderr)


def main(steps: list[str]) -> None:
    """Record the steps named; without any, all but `scenes`, which the others stand on."""
    steps = steps or ["answers", "language", "rules", "peers", "networks"]
    if "scenes" in steps:
        write("scenes", pd.DataFrame(described()))
    if "answers" in steps:
        towers = {preset: load(preset).encoder for preset in ("tiny", "photo")}
        write_json("encoders", {preset: numbers_of(tower) for preset, tower in towers.items()})
        texts = {preset: Texts(preset, tower) for preset, tower in towers.items()}
        for group, (preset, *_) in GROUPS.items():
            write(f"answers_{group}", answers(group, texts[preset]).drop(columns="total"))
        write("switches", switched(texts["tiny"]))
        samples, scores, metrics, grid = runs(texts["tiny"])
        for name, table in {"samples": samples, "scores": scores, "sweep": grid}.items():
            write(name, table)
        write_json("metrics", metrics)
        write_json("answers", json_answers(texts["tiny"]))
        write("texts", pd.concat([known.table() for known in texts.values()]))
    if "language" in steps:
        write_json("language", language())
    if "rules" in steps:
        write_json("rules", rules())
    if "networks" in steps:
        made = networks()
        write_json("networks", {k: v for k, v in made.items() if isinstance(v, list)})
        arrays = {k: np.asarray(v, "f4") for k, v in made.items() if not isinstance(v, list)}
        np.savez_compressed(HERE / "networks.npz", **arrays)
    if "peers" in steps:
        write("peers", peers())


if __name__ == "__main__":
    main(sys.argv[1:])
