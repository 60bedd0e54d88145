"""Head nouns, synonyms, negatives and direction words."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasutils import paths
from tasutils.errors import TasError
from tasutils.language import Parser, find_directions, mine_negatives, read_directions
from tasutils.language.reading import EXTENDED_WORDS
from tasutils.language.wordnet import noun_forms, path_similarity, wordnet

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


DIRECTIONS = """
right dog = right
banana bottom = bottom
top left zebra = up left
upper-left car = up left
topleft dog = up left
left-hand dog = left
left hand person = left
on the right hand side = right
bottommost apple = bottom
lower left corner = bottom left
dog above = up
the above dog = up
below left = bottom left
bird up high = up
ring down low = bottom
the cup placed higher up than the dog =
table top = up
down low = bottom
Left DOG = left
left, right = left right
laptop =
bright beast on stop =
leftovers upright =
leftmost of the three dogs = left
the left of the two dogs = left
left of the picture = left
the left side of the image = left
left of center = left
upper right of the photo = up right
top of the picture = up
car to the left of the dog =
car left of dog =
left side of the table =
car in the upper right of the dog =
above the bus =
the automobile above the bus =
lamp above the picture =
laptop on top of the table =
up the hill =
second from the left =
second dog from the left =
2nd left =
3rd person from right =
two from the left =
next to leftmost =
two left dogs = left
second dog on the left = left
first from the left = left
zebra facing right =
looking to the left =
cow laying right = right
man standing up =
lying down =
elephant with trunk up =
right behind the bus =
right in front of us =
man right in the middle =
man right in blue = right
bottom right next to the car = bottom right
girl in red top =
tank top =
red car top = up
red top left car = up left
the man who left =
man that left =
that left dog = left
guy left = left
"""


def rows(table: str) -> list[tuple[str, str]]:
    pairs = (line.partition("=") for line in table.strip().splitlines())
    return [(text.strip(), wanted.strip()) for text, _, wanted in pairs]


@pytest.mark.parametrize(("text", "head"), rows(HEADS))
def test_head_noun(text: str, head: str) -> None:
    assert PARSER.parse(text).head == head


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
    assert PARSER.parse(text).phrase == phrase


def test_noun_chunks_of_a_caption_without_pronouns() -> None:
    chunks = PARSER.noun_chunks("a red car, two dogs and a banana that it eats")
    assert chunks[:3] == ["a red car", "two dogs", "a banana"]
    assert "it" not in chunks and "that" not in chunks
    assert "it" in PARSER.noun_chunks("a banana that it eats", pronouns=True)
    assert PARSER.noun_chunks("") == []


def test_first_nouns_have_no_lemma() -> None:
    texts = ("two red Dogs", "a fire engine", "the", "left man")
    assert [PARSER.parse(text).first_noun for text in texts] == ["dogs", "fire", "", "man"]


def test_a_parser_travels_between_processes() -> None:
    assert pickle.loads(pickle.dumps(PARSER)) == PARSER


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    assert isinstance(PARSER.parse(text).head, str)


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
    assert (path_similarity(a, b) >= 0.9) is (path_similarity(b, a) >= 0.9) is same


NOUNS = ["dog", "cat", "car", "couch", "man", "woman", "orange", "table", "bus", "fire_engine"]


@given(st.sampled_from(NOUNS), st.sampled_from(NOUNS))
@settings(deadline=None)
def test_path_similarity_equals_nltks_over_all_pairs(a: str, b: str) -> None:
    pairs = [(x, y) for x in wordnet().synsets(a, "n") for y in wordnet().synsets(b, "n")]
    reference = max(wordnet().path_similarity(x, y) for x, y in pairs)
    assert path_similarity(a, b) == pytest.approx(reference)
    assert path_similarity(a, b) == path_similarity(b, a)


def test_compounds_come_before_the_head_noun() -> None:
    assert noun_forms(["red", "police", "van"]) == ("police van", "van")
    assert noun_forms(["red", "fire", "engine"]) == ("fire engine",)  # which is no engine
    assert noun_forms(["green", "zorblax"]) == ("zorblax",)
    assert noun_forms([]) == ()


def test_wordnet_serves_threads() -> None:
    nouns = [synset.lemma_names()[0] for synset in wordnet().synsets("plant", "n")] * 5
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda noun: path_similarity(noun, "couch"), nouns))
    assert found == [path_similarity(noun, "couch") for noun in nouns]


@pytest.mark.parametrize("damaged", [False, True])
def test_missing_or_damaged_wordnet_is_one_line(
    damaged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if damaged:
        (tmp_path / "corpora").mkdir()
        (tmp_path / "corpora" / "wordnet.zip").write_bytes(b"not a zip")
    monkeypatch.setattr(paths, "NLTK_DATA", tmp_path)
    with pytest.raises(TasError, match="WordNet .*git checkout") as caught:
        wordnet()
    assert "\n" not in str(caught.value)


# --- negatives -------------------------------------------------------------------------------


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


def test_the_head_of_a_compound_that_is_no_kind_of_it_does_not_decide() -> None:
    judged = {
        "the dog": {"a hot dog": True, "two hot dogs": True, "a big dog": False},
        "the hot dogs": {"a dog": True, "a hot dog": False},
        "the bear": {"teddy bears": True, "a polar bear": False, "a brown bear": False},
        "the horse": {"a sea horse": True, "a race horse": False},
        "a teddy bear": {"a bear": True, "a teddy": False},
        "the dining table": {"a coffee table": True, "a table": False},
        "the mouse": {"a computer mouse": False}, "the cat": {"a big cat": False},
        "the bus": {"a school bus": False}, "the fire engine": {"an engine": True},
    }  # fmt: skip
    for target, kept in judged.items():
        found = mine_negatives(list(kept), target, PARSER)
        assert {c.phrase: c.kept for c in found} == kept, target


@pytest.mark.parametrize(("threshold", "kept"), [(0.5, False), (0.9, True)])
def test_threshold_decides(threshold: float, kept: bool) -> None:
    assert [c.kept for c in mine_negatives(["a puppy"], "dog", PARSER, threshold)] == [kept]


# --- direction words -------------------------------------------------------------------------


def names(text: str, form: str) -> str:
    return " ".join(d.name for d in find_directions(text, form))


@pytest.mark.parametrize(("text", "wanted"), rows(DIRECTIONS))
def test_extended_directions(text: str, wanted: str) -> None:
    assert names(text, "extended") == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("car to the left of the dog", "left"),
        ("man standing up", "up"),
        ("bottom right", "bottom right"),
        ("upper-left car", "left"),
        ("top zebra, rightmost", ""),
        ("bright laptop upright", ""),
    ],
)
def test_paper_form_knows_four_words_wherever_they_stand(text: str, wanted: str) -> None:
    assert names(text, "paper") == wanted


def test_skipped_words_keep_their_reason_and_place() -> None:
    (word,) = read_directions("car to the left of the dog")
    assert (word.token, word.span, word.skipped) == ("left", (11, 15), "relation")
    assert find_directions("left dog", "none") == []
    with pytest.raises(TasError, match="unknown rectifier form 'best'"):
        find_directions("left dog", "best")


@given(st.text(max_size=80), st.sampled_from(["paper", "extended"]))
def test_spans_are_tokens_of_the_text(text: str, form: str) -> None:
    for direction in read_directions(text, form):
        start, end = direction.span
        assert text[start:end] == direction.token
        assert direction.token.lower() in {*EXTENDED_WORDS, "l", "r"}


@given(st.lists(st.sampled_from([*EXTENDED_WORDS, "of", "the", "dog", "second", "from"])))
def test_extended_never_stumbles_and_only_leaves_out(words: list[str]) -> None:
    text = " ".join(words)
    assert set(find_directions(text)) <= set(read_directions(text))
