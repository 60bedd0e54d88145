"""refer(): the whole of the second half, over scenes made by hand and a hash for an encoder."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from light import H, HashEncoder, Same, W, boxes, embed, scene_of

from tasutils.config import Preset, load_preset
from tasutils.errors import TasError
from tasutils.language.parse import Parser
from tasutils.refer import MAX_CHARACTERS, TasAnswer, parse_expression, refer
from tasutils.scene import Proposals, Scene

PARSER = Parser()
PRESET = load_preset("tiny").override({"terms.p.weight": 0.1, "terms.n.weight.default": 0.1})


def ask(scene: Scene, sentence: str, preset: Preset = PRESET, **given: object) -> TasAnswer:
    return refer(scene, sentence, HashEncoder(), PARSER, preset, **given)  # type: ignore[arg-type]


SCENES = st.builds(
    lambda n, seed: scene_of(boxes(n, seed), seed=seed), st.integers(0, 9), st.integers(0, 999)
)
SENTENCES = st.sampled_from(
    [
        "right dog",
        "the red car",
        "banana bottom",
        "top left zebra",
        "second from the left",
        "🐶",
        "狗",
    ]
)


@given(SCENES, SENTENCES)
@settings(deadline=None)
def test_every_answer_is_whole(scene: Scene, sentence: str) -> None:
    answer, n = ask(scene, sentence), len(scene.proposals)
    table = answer.table()
    names = ["v", "p", "n", "total", "in_region", "rank", "caption", "area_px"]
    assert list(table.columns) == names and table.index.name == "mask"
    assert not table.isna().any(axis=None) and len(table) == n
    assert sorted(answer.rank) == list(range(1, n + 1))
    assert answer.mask().shape == (H, W)
    assert answer.reason and "\n" not in answer.reason
    if n:
        assert answer.best is not None and answer.rank[answer.best] == 1
        np.testing.assert_array_equal(answer.mask(), scene.proposals.masks()[answer.best])
        best = answer.in_region if answer.in_region.any() else np.ones(n, bool)
        assert answer.total[answer.best] == answer.total[best].max()
        by_rank = answer.in_region[np.argsort(answer.rank)]
        assert (np.diff(by_rank.astype(int)) <= 0).all()  # inside first


@given(st.integers(1, 9), st.integers(0, 999), SENTENCES)
@settings(deadline=None)
def test_permuting_masks_permutes_scores_and_the_answer(n: int, seed: int, sentence: str) -> None:
    masks = boxes(n, seed)
    scene, order = scene_of(masks, seed=seed), np.random.default_rng(seed).permutation(n)
    shuffled = dataclasses.replace(
        scene,
        proposals=Proposals.from_masks(masks[order]),
        views={"crop": scene.crop_embeddings[order]},
        caption_embeddings=scene.caption_embeddings[order],
        captions=[scene.captions[i] for i in order],
    )
    one, other = ask(scene, sentence), ask(shuffled, sentence)
    for name, values in (one.terms | {"total": one.total}).items():
        np.testing.assert_array_equal(other.table()[name], values[order])
    for name in ("in_region", "rank"):
        np.testing.assert_array_equal(getattr(other, name), getattr(one, name)[order])
    assert other.best is not None and order[other.best] == one.best


@given(SCENES, st.sampled_from([("left", "right"), ("leftmost", "rightmost")]))
@settings(deadline=None)
def test_mirroring_swaps_the_answers_of_left_and_right(scene: Scene, words: tuple) -> None:  # type: ignore[type-arg]
    mirrored = dataclasses.replace(
        scene, proposals=Proposals.from_masks(scene.proposals.masks()[:, :, ::-1].copy())
    )
    left = refer(scene, f"{words[0]} dog", Same(), PARSER, PRESET)
    right = refer(mirrored, f"{words[1]} dog", Same(), PARSER, PRESET)
    assert left.best == right.best
    np.testing.assert_array_equal(left.in_region, right.in_region)


def test_negatives_are_the_other_phrases_and_their_stored_embeddings() -> None:
    scene = scene_of(boxes(3, 1), phrases=("a dog", "two red cars", "a banana"))
    answer = ask(scene, "the automobile")
    assert answer.negatives == ("a dog", "a banana")
    assert [c.kept for c in answer.candidates] == [True, False, True]
    units = scene.crop_embeddings / np.linalg.norm(scene.crop_embeddings, axis=1, keepdims=True)
    wanted = -(units @ scene.phrase_embeddings[[0, 2]].T).mean(axis=1)
    np.testing.assert_allclose(answer.terms["n"], wanted, atol=1e-6)


def test_the_reason_tells_what_the_rectifier_did() -> None:
    masks = np.zeros((3, *(H, W)), dtype=bool)
    masks[0, :4, :4] = masks[1, :4, -4:] = masks[2, 10:14, -4:] = True
    scene = scene_of(masks)
    text = embed("same").astype(np.float32)
    scene.crop_embeddings[:] = [text, text * 0, -text]
    reply = {s: refer(scene, s, Same(), PARSER, PRESET, weights={"p": 0, "n": 0}) for s in REASONS}
    for sentence, (chosen, rectified, words) in REASONS.items():
        answer = reply[sentence]
        assert (answer.best, answer.rectified) == (chosen, rectified), sentence
        assert words in answer.reason


REASONS = {
    "right dog": (1, True, "right, 2 of 3 masks, which changed the answer from mask 0"),
    "left dog": (0, True, "left, 1 of 3 masks, the answer stays the same"),
    "dog": (0, False, "no direction word"),
    "dog left of the car": (0, False, "'left' does not count here (relation)"),
    "left dog at the right": (0, False, "no mask has its centre in the part left and right"),
}


def test_an_answer_below_the_preset_s_constant_is_not_sure() -> None:
    scene = scene_of(boxes(3, 1))
    for least, sure in ((None, True), (-2.0, True), (2.0, False)):
        answer = ask(scene, "red car", PRESET.override({"scores.unsure_below": least}))
        assert answer.sure is sure and answer.reason.startswith("not sure: total") is not sure
        assert f"mask {answer.best} wins" in answer.reason
    none = ask(scene_of(boxes(0, 0)), "red car", PRESET.override({"scores.unsure_below": 2.0}))
    assert none.sure and none.best is None


def test_lambda_follows_the_data_set_and_arguments_override() -> None:
    preset = PRESET.override({"terms.n.weight.refcoco+": 1.0})
    scene = scene_of(boxes(4, 2))
    assert ask(scene, "zebra", preset).weights["n"] == 0.1
    assert ask(scene, "zebra", preset, dataset="refcoco+").weights["n"] == 1.0
    answer = ask(scene, "zebra", preset, dataset="refcoco+", weights={"p": 0.25, "n": 0.5})
    assert (answer.weights["p"], answer.weights["n"]) == (0.25, 0.5)
    v, p, n = (answer.terms[name] for name in "vpn")
    np.testing.assert_allclose(answer.total, v + 0.25 * p + 0.5 * n)


def test_template_and_one_batch() -> None:
    encoder = HashEncoder()
    preset = PRESET.override({"encoder.template": "a photo of {}", "terms.r": 1, "terms.h": 1})
    answer = refer(scene_of(boxes(4, 2)), "red  {car} near the dog", encoder, PARSER, preset)
    texts = ["red {car} near the dog", "dog", answer.expression.asks.thing]
    assert encoder.batches == [[f"a photo of {text}" for text in texts]]


def test_sentences_that_are_blank_no_text_or_too_long_are_refused() -> None:
    for text in ("", "\n\t", "\u200b \u00a0", "\x00"):
        with pytest.raises(TasError, match="the sentence is empty"):
            ask(scene_of(boxes(2, 0)), text)
    with pytest.raises(TasError, match="2001 characters; shorten"):
        parse_expression("x" * (MAX_CHARACTERS + 1), PARSER)
    with pytest.raises(TasError, match="must be text, not int"):
        parse_expression(7, PARSER)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "unknown"), [
    ("le chien à gauche", "chien"), ("собака слева", "собака, слева"), ("the red dogg", "dogg"),
    ("the two zebras' legs, leftmost", ""), ("guy w/ hat on the LHS", ""),
])  # fmt: skip
def test_what_no_dictionary_has_is_said(text: str, unknown: str) -> None:
    reason = ask(scene_of(boxes(2, 0)), text).reason
    assert reason.partition("not in the dictionary: ")[2] == unknown


class Counting(HashEncoder):
    context_length = 77

    def n_tokens(self, text: str) -> int:
        return len(text) + 2


@pytest.mark.parametrize(("letters", "cut"), [(75, False), (76, True)])
def test_a_cut_off_sentence_says_so(letters: int, cut: bool) -> None:
    preset = PRESET.override({"encoder.template": "{}"})
    answer = refer(scene_of(boxes(2, 0)), "d" * letters, Counting(), PARSER, preset)
    assert answer.truncated is cut and ("cut off" in answer.reason) is cut
    assert not ask(scene_of(boxes(2, 0)), "very " * 80 + "dog").truncated  # nobody counts there


def test_the_tokenizer_counts_not_the_words() -> None:
    from tasutils.tas import load

    tiny, photo = load("tiny").encoder, load("photo").encoder
    for encoder, text in (
        (tiny, "extraordinarily unphotographable "),
        (photo, "unphotographable "),
    ):
        assert encoder.n_tokens("dog") == 3
        words = text * 25
        assert len(words.split()) < 77 and (encoder.n_tokens(words) > 77)
    assert photo.n_tokens("big dog " * 50) < photo.context_length == 256


@given(st.text(min_size=1, max_size=80))
@settings(deadline=None, max_examples=50)
def test_any_text_is_answered_or_refused_by_name(text: str) -> None:
    try:
        answer = ask(scene_of(boxes(2, 0)), text)
    except TasError as error:
        assert "the sentence is empty" in str(error)
    else:
        assert np.isfinite(answer.total).all()


def test_scenes_of_another_encoder_are_refused() -> None:
    scene = scene_of(boxes(2, 0))
    other = dataclasses.replace(scene, views={"crop": scene.crop_embeddings[:, :8]})
    with pytest.raises(TasError, match="describe the image again"):
        ask(other, "dog")
