"""Head nouns, synonyms, negatives and direction words."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasutils import paths
from tasutils.errors import TasError
from tasutils.language import synonyms
from tasutils.language.negatives import mine_negatives
from tasutils.language.parse import Parser
from tasutils.language.synonyms import are_synonyms, noun_forms, path_similarity

PARSER = Parser()

HEADS = """
right dog = dog
red car on the left = car
banana bottom = banana
bottom banana = banana
left man = man
the man on the right = man
guy on right = guy
rightmost man = man
bottom left dog = dog
top left zebra = zebra
woman to the right of the car = woman
second from the left =
second dog from the left = dog
the man who left = man
person left = person
left =
the small white cat that sits next to the blue suitcase = cat
the one beside the bus = one
it stands behind the bus = it
man in blue shirt = man
kid in red = kid
fire engine on the left = engine
elephant with trunk up = elephant
blue car, bottom right = car
far right guy = guy
girl holding umbrella = girl
upper left puppy = puppy
upper-left car = car
left-hand dog = dog
left hand person = person
left side = side
guy left = guy
chair in front of the tv = chair
the largest of the three dogs = dog
smaller of two cats = cat
biggest red apple = apple
lady sitting down = lady
half eaten sandwich on left = sandwich
zebra facing right = zebra
front cow = cow
dog at bottom left corner = dog
hot dog closest to us = dog
the man's hat = hat
pair of scissors on the left = scissor
orange on left = orange
donut on the right = donut
trash can top = can
small alarm clock down low = clock
brown hedgehog standing behind the bus = hedgehog
red t-shirt on the left = t-shirt
small running shoe = shoe
the big, red car = car
black and white cat = cat
bunch of bananas = banana
man you can see = man
cow nearest camera = cow
right half of the pizza = pizza
one of the dogs = dog
two zebras on right = zebra
Right Dog = dog
the brown teddy bear that lies below the clock = bear
the girl whose umbrella is red = girl
???  =
"""


def rows(table: str) -> list[tuple[str, str]]:
    pairs = (line.partition("=") for line in table.strip().splitlines())
    return [(text.strip(), wanted.strip()) for text, _, wanted in pairs]


@pytest.mark.parametrize(("text", "head"), rows(HEADS))
def test_head_noun(text: str, head: str) -> None:
    assert PARSER.head_noun(text) == head


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("red car on the left", "red car"),
        ("the one beside the bus", "the one"),
        ("the brown teddy bear that lies below the clock", "the brown teddy bear"),
        ("the largest of the three dogs", "the three dogs"),
        ("second from the left", "second from the left"),
    ],
)
def test_head_phrase(text: str, phrase: str) -> None:
    assert PARSER.head_phrase(text) == phrase


def test_noun_chunks_of_a_caption_without_pronouns() -> None:
    chunks = PARSER.noun_chunks("a red car, two dogs and a banana that it eats")
    assert chunks[:3] == ["a red car", "two dogs", "a banana"]
    assert "it" not in chunks and "that" not in chunks
    assert PARSER.noun_chunks("") == []


def test_tokens_and_lemmas_go_together() -> None:
    assert PARSER.tokens("two Dogs") == ["two", "dogs"]
    assert PARSER.lemmas("two Dogs") == ["two", "dog"]


def test_a_parser_travels_between_processes() -> None:
    assert pickle.loads(pickle.dumps(PARSER)) == PARSER


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    parse = PARSER.parse(text)
    assert isinstance(parse.head, str) and len(parse.tokens) == len(parse.lemmas)


def test_missing_models_name_the_command() -> None:
    with pytest.raises(TasError, match="python -m spacy download en_core_web_none"):
        Parser("en_core_web_none").parse("a dog")


# --- WordNet ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("couch", "sofa", True),
        ("car", "automobile", True),
        ("dogs", "dog", True),
        ("men", "man", True),
        ("fire engine", "fire truck", True),
        ("giraffe", "giraffe", True),
        ("kid", "child", True),
        ("zorblax", "Zorblax", True),
        ("zorblax", "dog", False),
        ("puppy", "dog", False),
        ("man", "person", False),
        ("car", "bus", False),
    ],
)
def test_synonyms(a: str, b: str, same: bool) -> None:
    assert are_synonyms(a, b) is same
    assert are_synonyms(b, a) is same


NOUNS = ["dog", "cat", "car", "couch", "man", "woman", "orange", "table", "bus", "fire_engine"]


@given(st.sampled_from(NOUNS), st.sampled_from(NOUNS))
@settings(deadline=None)
def test_path_similarity_equals_nltks_over_all_pairs(a: str, b: str) -> None:
    wn = synonyms.wordnet()
    pairs = [(x, y) for x in wn.synsets(a, "n") for y in wn.synsets(b, "n")]
    reference = max(wn.path_similarity(x, y) for x, y in pairs)
    assert path_similarity(a, b) == pytest.approx(reference)
    assert path_similarity(a, b) == path_similarity(b, a)


def test_compounds_come_before_the_head_noun() -> None:
    assert noun_forms(["red", "fire", "engine"]) == ("fire engine", "engine")
    assert noun_forms(["green", "zorblax"]) == ("zorblax",)
    assert noun_forms([]) == ()


def test_wordnet_serves_threads() -> None:
    synonyms.ancestors.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: path_similarity("couch", "sofa"), range(20)))
    assert found == [1.0] * 20


@pytest.mark.parametrize("damaged", [False, True])
def test_missing_or_damaged_wordnet_is_one_line(
    damaged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if damaged:
        (tmp_path / "corpora").mkdir()
        (tmp_path / "corpora" / "wordnet.zip").write_bytes(b"not a zip")
    monkeypatch.setattr(paths, "NLTK_DATA", tmp_path)
    with pytest.raises(TasError, match="WordNet .*git checkout") as caught:
        synonyms.wordnet()
    assert "\n" not in str(caught.value)


def test_negatives_leave_out_the_target_and_say_why() -> None:
    phrases = ["a red automobile", "two dogs", "a banana", "cars", "two dogs"]
    judged = mine_negatives(phrases, "the car on the left", PARSER)
    assert [c.index for c in judged] == [0, 1, 2, 3, 4]
    assert [c.kept for c in judged] == [False, True, True, False, True]
    assert [c.phrase for c in judged] == phrases
    assert judged[0].reason.startswith("dropped: 'automobile' is a synonym of 'car'")
    assert judged[1].reason.startswith("kept: 'dogs' is no synonym of 'car'")


def test_negatives_see_compounds_and_unnamed_things() -> None:
    judged = mine_negatives(["a fire truck", "a truck"], "fire engine on the left", PARSER)
    assert [c.kept for c in judged] == [False, True]
    unnamed = mine_negatives(["a dog", "!"], "second from the left", PARSER)
    assert [c.kept for c in unnamed] == [True, True]
    assert "names no thing" in unnamed[0].reason
    assert mine_negatives([], "a dog", PARSER) == []


def test_threshold_decides() -> None:
    assert [c.kept for c in mine_negatives(["a puppy"], "dog", PARSER, 0.5)] == [False]
    assert [c.kept for c in mine_negatives(["a puppy"], "dog", PARSER, 0.9)] == [True]
