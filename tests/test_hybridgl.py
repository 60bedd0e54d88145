"""HybridGL: against a slow, plainly written version; its reading; its faults; from end to end."""

import numpy as np
import pytest
import slow_hybridgl as slow
import torch
from light import PARSER, FakeCaptioner, FakeProposer, runs_of
from slow_peers import Vit, unit
from small_peers import expression, random_masks, scene_of, small_clip, small_tas

from tasutils.baselines import answers_of, base, hybridgl, make_method
from tasutils.config import load_preset
from tasutils.crops import CLIP_MEAN_RGB, CLIP_STD_RGB, whole_image
from tasutils.tas import TAS

#: A sentence, its head phrase, other chunks, relation and place.
READ = [
    ("the red car", "the red car", (), "none", "none"),
    ("the red car on the left", "the red car", (), "left", "left"),
    ("the car to the left of the small dog", "the car", ("the small dog",), "left", "left"),
    ("the car to the right of a dog", "the car", ("a dog",), "none", "right"),
    ("a dog in the middle", "a dog", (), "none", "middle"),
    ("the bottle between two dogs", "the bottle", ("two dogs",), "none", "middle"),
    ("a car above the dog", "a car", ("the dog",), "up", "up"),
    ("a car under the dog", "a car", ("the dog",), "down", "down"),
    ("a dog bigger than the cat", "a dog", ("the cat",), "big", "none"),
    ("a cat smaller than the dog", "a cat", ("the dog",), "small", "none"),
    ("the dog inside the red box", "the dog", ("the red box",), "within", "none"),
    ("the dog behind the car in the picture", "the dog", ("the car", "the picture"), "none",
     "none"),
    ("the man's hat", "the man 's hat", (), "none", "none"),
]  # fmt: skip


@pytest.fixture
def eight(rng):
    return random_masks(rng, 8, (60, 80))


def raw_text(encoder, text):
    with torch.inference_mode():
        return encoder.model.encode_text(encoder.tokenize([text]))[0].double().numpy()


def scores_of(method, masks, said, picture):
    return answers_of(method, scene_of(masks), [expression(said)], picture)[0].total


def slow_parts(picture, masks, fusion="G2L", statistics="encoder", masked=1, blocks=2):
    """Features of masks, GEM's of places, and the encoder."""
    encoder = small_clip("vit")
    vit = Vit(encoder.model.visual)
    mean, std = (np.array(v) for v in {
        "encoder": (CLIP_MEAN_RGB, CLIP_STD_RGB),
        "imagenet": (base.IMAGENET_MEAN, base.IMAGENET_STD),
    }[statistics])  # fmt: skip
    seen = [slow.views(picture, mask, encoder.image_size, mean, std) for mask in masks]
    found = [slow.mixed(vit, *s, m, fusion, masked) for s, m in zip(seen, masks, strict=True)]
    twice = encoder.pixel_values(whole_image(picture, 64))[0].double().numpy()
    return np.array(found), slow.gem(vit, twice, blocks), encoder


def slow_scores(parts, masks, said, picture, **how):
    """The scores of the likeliest masks, by their number."""
    features, places, encoder = parts
    _, phrase, others, relation, place = said

    def likelihood(text):
        return slow.softmax(encoder.logit_scale * unit(features) @ unit(text))

    p = likelihood((raw_text(encoder, said[0]) + raw_text(encoder, phrase)) / 2)
    chunks = [raw_text(encoder, f"a photo of {chunk}") for chunk in others]
    q = likelihood(sum(chunks) / len(chunks)) if others else None
    text = raw_text(encoder, f"a photo of a {phrase}.")
    heat = slow.heat_of(places, text, 64, picture.shape[:2], place)
    return slow.decision(p, q, masks, relation, heat, **how)


def check(scores, wanted):
    """Those of the likeliest masks are equal, and all others lie below."""
    chosen = list(wanted)
    np.testing.assert_allclose(scores[chosen], list(wanted.values()), rtol=0, atol=1e-5)
    assert np.delete(scores, chosen).max(initial=-np.inf) < scores[chosen].min() - 1


@pytest.mark.parametrize("said", READ, ids=[said[0] for said in READ])
def test_reading(said):
    assert hybridgl.read("en_core_web_sm", said[0], expression(said[0]).phrase.lower()) == (
        said[0].replace("'s", " 's"), *said[1:]
    )  # fmt: skip


def test_every_word_of_the_relations():
    released, mended = ({
        word: hybridgl.read("en_core_web_sm", word, word, fault).relation
        for known in hybridgl.RELATIONS.values() for word in known
    } for fault in ("released", "mended"))  # fmt: skip
    assert mended == {
        "left": "left", "west": "left", "right": "right", "east": "right", "above": "up",
        "north": "up", "top": "up", "back": "up", "behind": "up", "below": "down", "south": "down",
        "under": "down", "front": "down", "bigger": "big", "larger": "big", "closer": "big",
        "smaller": "small", "tinier": "small", "further": "small", "smallest": "small",
        "inside": "within", "within": "within", "contained": "within",
    }  # fmt: skip
    assert released == mended | {"right": "none", "east": "none"}


@pytest.mark.parametrize("statistics", ["encoder", "imagenet"])
@pytest.mark.parametrize("fusion", ["G2L", "L2G", "G2L&L2G"])
def test_features_and_maps(fusion, statistics, picture, eight):
    masks, said = eight[:4], READ[2]
    parts = slow_parts(picture, masks, fusion, statistics, masked=2, blocks=3)
    square = base.SquareConfig(interpolation="bilinear", antialias=False, statistics=statistics)
    config = hybridgl.HybridGLConfig(fusion=fusion, square=square, masked_blocks=2, gem_blocks=3)
    method = hybridgl.HybridGL(small_clip("vit"), config)
    check(
        scores_of(method, masks, said[0], picture),
        slow_scores(parts, masks, said, picture),
    )


def test_scores_of_every_relation_and_place(picture, eight):
    parts = slow_parts(picture, eight)  # of 4 blocks a quarter and half
    method = make_method("hybridgl", small_tas())
    for said in READ:
        wanted = slow_scores(parts, eight, said, picture)
        check(scores_of(method, eight, said[0], picture), wanted)
    few = make_method("hybridgl", small_tas(), likeliest=2, landmarks=3, coherence=0.3)
    wanted = slow_scores(parts, eight, READ[2], picture, alpha=0.3, tops=(2, 3))
    check(scores_of(few, eight, READ[2][0], picture), wanted)


# the faults of the released code


def test_right_states_no_relation_as_released(picture, eight):
    parts = slow_parts(picture, eight)
    said = "the car to the right of a dog", "the car", ("a dog",), "right", "right"
    mended = scores_of(
        make_method("hybridgl", small_tas(), right="mended"), eight, said[0], picture
    )
    check(mended, slow_scores(parts, eight, said, picture))
    released = scores_of(make_method("hybridgl", small_tas()), eight, said[0], picture)
    assert not np.allclose(released, mended, atol=1e-3)


def test_the_article_stands_twice_as_released():
    asked = [expression(text) for text in ("the red car", "a dog", "cars", "a")]
    released, mended = (
        [make_method("hybridgl", small_tas(), **fault)._written(one)[2] for one in asked]
        for fault in ({}, {"article": "mended"})
    )
    assert released == [f"a photo of a {name}." for name in ("the red car", "a dog", "cars", "a")]
    assert mended == [f"a photo of a {name}." for name in ("red car", "dog", "cars", "a")]


def test_few_masks_lower_the_counts_for_good_as_released(picture, eight):
    said = READ[2][0]
    fresh = scores_of(make_method("hybridgl", small_tas()), eight, said, picture)
    for fault, same in (("mended", True), ("released", False)):
        method = make_method("hybridgl", small_tas(), few_masks=fault)
        scores_of(method, eight[:2], said, picture)
        assert np.array_equal(scores_of(method, eight, said, picture), fresh) == same
    assert (fresh > fresh.max() - 1).sum() == 3


def test_a_full_mask_wins_as_released(picture, eight):
    masks, said = np.concatenate([eight[:2], np.ones((1, 60, 80), bool)]), "the red car"
    mended, released = (
        scores_of(make_method("hybridgl", small_tas(), full_mask=fault), masks, said, picture)
        for fault in ("mended", "released")
    )
    assert mended.argmax() != 2 and released.argmax() == 2
    np.testing.assert_array_equal(mended[:2], released[:2])
    alone = make_method("hybridgl", small_tas(), full_mask="released")
    assert np.isfinite(scores_of(alone, masks[2:], said, picture)).all()


# what else holds


def test_ties_go_to_the_first_and_flat_pictures_have_scores(picture, eight):
    method = make_method("hybridgl", small_tas())
    same = scores_of(method, eight[[1, 1, 1, 1, 1]], "the car above the dog", picture)
    assert same.argmax() == 0 and np.ptp(same[:3]) == 0 and np.isfinite(same).all()
    flat = scores_of(method, eight, "the car on the left", np.full_like(picture, 90))
    assert np.isfinite(flat).all()


def test_each_picture_is_seen_once_and_sentences_go_in_one_batch(picture, eight):
    method, seen, read = make_method("hybridgl", small_tas()), [], []
    model, scene = method.encoder.model, scene_of(eight)
    hooks = [
        model.visual.conv1.register_forward_hook(lambda m, x, y: seen.append(len(y))),
        model.token_embedding.register_forward_hook(lambda m, x, y: read.append(len(y))),
    ]
    try:
        answers_of(method, scene, [expression(said[0]) for said in READ], picture)
    finally:
        for hook in hooks:
            hook.remove()
    assert sum(seen) == 2 * len(eight) + 1 and len(read) == 1


def test_tiny_from_end_to_end(dataset, tmp_path):
    tas = TAS(load_preset("tiny"), FakeProposer(), None, FakeCaptioner(), PARSER, "cpu")
    (run,) = runs_of(dataset, tas, tmp_path / "runs", ["hybridgl"])
    assert run.record.method == "hybridgl" and len(run.samples) == 30
    assert (run.samples.query("n_proposals > 0")["chosen"] >= 0).all()
    method = make_method("hybridgl", tas)  # of 6 blocks a quarter and half
    assert (method._masked, method.settings["encoder"]) == (2, "tiny-ViT")
