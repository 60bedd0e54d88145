"""The tiny models: architectures, vocabulary, training's parts, and the weights that ship."""

from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from making import loop, scores
from making.captioner import blip2_tokenizer, build_blip2, vision_from_clip
from making.categories import load_categories
from making.clip import contrastive_loss, embed_images, embed_text, train_clip
from making.export import FILES, export
from making.loop import learning_rate, read_checkpoint
from making.pairs import draw_pairs
from making.pools import ScenePool, draw_shard
from making.sam import decode, draw_prompts, encode, sam_loss, train_sam
from making.tokenizer import TOKENIZER, merges_bytes
from making.words import seen_words, vocabulary_texts
from tasutils.config import load_preset
from tasutils.encoders.openclip import OpenClipEncoder, build_clip, tiny_tokenizer
from tasutils.paths import WEIGHTS
from tasutils.proposals.sam import build_sam
from tasutils.tas import load

TINY = WEIGHTS / "tiny"


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Six training scenes."""
    folder = tmp_path_factory.mktemp("pool")
    draw_shard(folder, 1_000_000, 6)
    return ScenePool(folder, at_least=0)


# --- SAM ---


def test_sam_loads_half_precision_of_both_layouts(tmp_path):
    state = build_sam("tiny").state_dict()
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    save_file(half, tmp_path / "sam.safetensors")
    torch.save(half, tmp_path / "sam.pth")
    for path in tmp_path.iterdir():
        loaded = build_sam("tiny", path).state_dict()
        assert all(torch.equal(loaded[k], v.to(loaded[k].dtype)) for k, v in half.items())
        assert loaded["mask_decoder.iou_token.weight"].dtype == torch.float32


def test_training_decodes_as_segment_anything_does(pool):
    sam, rng = build_sam("tiny"), np.random.default_rng(0)
    batch = draw_prompts(rng, pool, 2, 3)
    with torch.no_grad():
        features = encode(sam, batch.images)
        points = torch.from_numpy(batch.points_xy).flatten(0, 1)[:, None]
        labels = torch.ones(points.shape[:2], dtype=torch.int)
        sparse, dense = sam.prompt_encoder(points=(points, labels), boxes=None, masks=None)
        masks, iou = decode(sam, features, sparse, 3)
        place = sam.prompt_encoder.get_dense_pe()
        for image in range(2):
            rows = slice(3 * image, 3 * image + 3)
            expected = sam.mask_decoder.predict_masks(
                features[image : image + 1], place, sparse[rows], dense[rows]
            )
            assert torch.allclose(masks[rows], expected[0], atol=1e-4)
            assert torch.allclose(iou[rows], expected[1], atol=1e-5)


def test_prompts_lie_in_their_masks(pool):
    batch = draw_prompts(np.random.default_rng(1), pool, 4, 6, background=2)
    assert batch.targets.shape == (4, 6, 96, 128) and not batch.targets[:, 4:].any()
    x, y = (batch.points_xy[:, :4] / 2).astype(int).transpose(2, 0, 1)
    inside = np.take_along_axis(
        batch.targets[:, :4].reshape(4, 4, -1), (y * 128 + x)[..., None], axis=2
    )
    assert inside.mean() > 0.8  # the rest lie on an edge of the smaller mask


def test_sam_loss_prefers_the_truth():
    truth = torch.zeros(2, 8, 8)
    truth[0, 2:5, 2:5] = 1
    right = (truth * 2 - 1)[:, None].repeat(1, 4, 1, 1) * 9
    iou = torch.tensor([[1.0] * 4, [0.0] * 4])
    good, told = sam_loss(right, iou, truth)
    bad, _ = sam_loss(-right, iou, truth)
    assert good < 0.2 < bad and told["best_iou"] == pytest.approx(1)


# --- vocabulary ---


def test_vocabulary_is_reproducible():
    assert merges_bytes() == TOKENIZER.read_bytes()


def test_both_tokenizers_agree_and_any_text_has_tokens():
    clip, blip = tiny_tokenizer(TOKENIZER), blip2_tokenizer()
    for text in ("a red car", "Two dogs, on a tiled floor", "café 😀 №7", ""):
        ids = clip.encode(text)
        assert blip(text, add_special_tokens=False)["input_ids"] == ids
        assert "".join(clip.decode(ids).split()) == "".join(text.lower().split())
        assert clip([text]).shape == (1, 77)


# --- hygiene ---


def test_nothing_unseen_enters_training(pool):
    table, categories = seen_words(), load_categories()
    unseen = {c.name for c in categories if not c.seen}
    assert not unseen & {word for text in vocabulary_texts() for word in (text, text[2:], text[3:])}
    assert not set(table.nouns) & unseen
    slugs = {thing.slug for scene in pool for thing in scene.things}
    assert slugs <= set(table.slugs) and len(table.slugs) == sum(c.seen for c in categories)
    assert not table.allowed("a house cat") and table.allowed("a white cat")
    batch = draw_pairs(np.random.default_rng(0), pool, table, 30, 4, 20, 64)
    assert all(table.allowed(text) for text in batch.texts)


# --- CLIP's training ---


def test_words_are_read():
    table = seen_words()
    row, color = table.read("a photo of a red car")
    assert table.nouns[row] == "car" and color > 0
    assert table.admits[row][table.index["car"]]
    assert table.read("three of them") is None


def test_relation_of_a_batch(pool):
    table = seen_words()
    batch = draw_pairs(np.random.default_rng(3), pool, table, 20, 3, len(table.names), 64)
    assert batch.images.shape == (23, 64, 64, 3)
    assert batch.relation.shape == (23, len(batch.texts))
    assert (np.diagonal(batch.relation)[:20] == 1).all()
    names = batch.relation[:20, 20 : 20 + len(table.names)]
    assert (names == 1).sum(1).min() >= 1  # every crop agrees with its own name
    assert (np.diagonal(batch.relation[20:, -3:]) == 1).all()
    assert batch.images.any((1, 2, 3)).all()


def test_contrastive_loss_is_the_slow_one():
    similarity = torch.randn(4, 5)
    relation = torch.tensor([[1, 0, 0, -1, 0], [0, 1, 1, 0, 0], [0] * 5, [1, -1, 0, 0, 1]])
    rows = []
    for s, r in zip(similarity.exp().tolist(), relation.tolist(), strict=True):
        against = sum(v for v, k in zip(s, r, strict=True) if k == 0)
        own = [-np.log(v / (v + against)) for v, k in zip(s, r, strict=True) if k == 1]
        rows += [np.mean(own)] if own else []
    assert float(contrastive_loss(similarity, relation)) == pytest.approx(np.mean(rows), rel=1e-5)


@pytest.mark.parametrize("name", ["tiny-ViT", "tiny-RN"])
def test_short_texts_and_native_pictures_embed_as_open_clip_does(name):
    model, tokenizer = build_clip(name).eval(), tiny_tokenizer(TOKENIZER)
    long = "the red car that is to the left of the two very large zebras and a banana"
    texts = ["a dog", long, "x"]
    size = 112 if name == "tiny-ViT" else 224
    images = np.random.default_rng(0).integers(0, 255, (2, size, size, 3), dtype=np.uint8)
    with torch.no_grad():
        tokens = tokenizer(texts)
        assert torch.allclose(embed_text(model, tokens), model.encode_text(tokens, True), atol=1e-5)
        small = embed_images(model, images[:, :96, :96])
        assert small.shape == (2, 128)
    assert model.visual.image_size in (size, (size, size))


# --- the loop ---


def test_learning_rate_rises_stays_falls():
    rates = [learning_rate(share, 1.0) for share in (0, 0.02, 0.33, 0.67, 0.998)]
    assert rates[0] < rates[1] == rates[2] == 1 > rates[3] > rates[4] > 0


@pytest.mark.slow
def test_a_training_resumes(tmp_path, pool, monkeypatch):
    clock = SimpleNamespace(monotonic=count().__next__)  # a second a step
    monkeypatch.setattr(loop, "time", clock)
    small: dict[str, Any] = {"photographs": pool.folder, "images": 1, "points": 2}
    first = train_sam(2 / 60, tmp_path / "sam", scenes=pool.folder, **small)
    again = train_sam(4 / 60, tmp_path / "sam", scenes=pool.folder, **small)
    assert (first["images"], again["images"]) == (2, 4)
    assert len(again["curve"]) > len(first["curve"])
    assert read_checkpoint(tmp_path / "sam")["record"]["images"] == again["images"]
    card = export("sam", tmp_path / "sam", score_images=1, target=tmp_path)
    assert f"| images seen | {again['images']} |" in card.read_text(encoding="utf-8")
    build_sam("tiny", tmp_path / FILES["sam"])


@pytest.mark.slow
def test_the_locked_text_tower_stays(tmp_path, pool):
    source = tmp_path / "from.safetensors"
    torch.manual_seed(1)
    text = {k: v.clone() for k, v in build_clip("tiny-RN").state_dict().items()}
    save_file(text, source)
    train_clip("tiny-ViT", 0.01, tmp_path / "vit", text_from=source, batch_size=16,
               scenes=pool.folder)  # fmt: skip
    after = read_checkpoint(tmp_path / "vit")["average"]
    assert torch.equal(after["module.token_embedding.weight"], text["token_embedding.weight"])


# --- BLIP-2 ---


def test_blip2_vision_is_the_clip_tower_without_its_last_layer():
    clip = build_clip("tiny-ViT").eval().visual
    blip = build_blip2(blip2_tokenizer()).eval().vision_model
    blip.load_state_dict(vision_from_clip({f"visual.{k}": v for k, v in clip.state_dict().items()}))
    x = torch.randn(2, 3, 112, 112)
    with torch.no_grad():
        tokens = clip.conv1(x).flatten(2).transpose(1, 2)  # (2, 49, 160)
        tokens = torch.cat([clip.class_embedding.expand(2, 1, -1), tokens], 1)
        tokens = tokens + clip.positional_embedding
        for block in list(clip.transformer.resblocks)[:5]:
            tokens = block(tokens)
        assert torch.allclose(blip(x).last_hidden_state, clip.ln_post(tokens), atol=1e-5)


# --- the weights that ship ---


def test_weights_are_small_half_and_have_cards():
    files = [path for path in TINY.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 24 * 10**6
    for name in FILES.values():
        card = (TINY / f"{name.removesuffix('.safetensors')}.md").read_text(encoding="utf-8")
        assert "| val" in card and "seed" in card and "2 CPU cores" in card
    for path in TINY.rglob("*.safetensors"):
        floats = [v for v in load_file(path).values() if v.is_floating_point()]
        assert all(v.dtype == torch.float16 and torch.isfinite(v).all() for v in floats), path


@pytest.mark.parametrize("name", ["tiny-ViT", "tiny-RN"])
def test_shipped_clip_names_things(name):
    changes = {"encoder.model": name, "encoder.checkpoint": f"tiny/{FILES[name]}"}
    preset = load_preset("tiny").override(changes)
    found = scores.category_top1(OpenClipEncoder(preset.encoder), "val", 12)
    assert found["seen"] >= 0.6 and found["n_seen"] > 40


@pytest.mark.slow
def test_shipped_sam_and_captioner_know_things():
    tas = load("tiny", device="cpu")
    assert scores.mask_oracle(tas.proposer, "val", 5)["oracle_miou"] >= 0.5
    assert scores.caption_category(tas.captioner, "val", 8)["seen"] >= 0.5
