"""Head nouns, synonyms, negatives and direction words."""

import csv
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


def test_noun_chunks_of_a_caption_without_pronouns() -> None:
    chunks = PARSER.noun_chunks("a red car, two dogs and a banana that it eats")
    assert chunks[:3] == ["a red car", "two dogs", "a banana"]
    assert "it" not in chunks and "that" not in chunks
    assert "it" in PARSER.noun_chunks("a banana that it eats", pronouns=True)
    assert PARSER.noun_chunks("") == []


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    assert isinstance(PARSER.parse(text).head, str)


def test_missing_models_name_the_command() -> None:
    with pytest.raises(TasError, match="python -m spacy download en_core_web_none"):
        Parser("en_core_web_none").parse("a dog")


with (Path(__file__).parent / "golden" / "sentences.csv").open(encoding="utf-8") as file:
    ROWS = list(csv.DictReader(file))


def head_is_right(row: dict[str, str]) -> bool:
    """Is the last word, or compound, of the head's words what the row says, in any number?"""
    parse = PARSER.parse(row["sentence"])
    words = f" {' '.join(parse.head_words).lower()}"
    wanted = (f" {row['head'].lower()}", f" {row['head']}s")
    return words.endswith(wanted) if row["head"] else not words.strip()


def directions_are_right(row: dict[str, str]) -> bool:
    found = dict.fromkeys(d.name for d in find_directions(row["sentence"]))
    return " ".join(found) == row["directions"]


@pytest.mark.parametrize(
    ("column", "is_right"), [("head", head_is_right), ("directions", directions_are_right)]
)
def test_sentences_a_third_of_them_traps_are_read_as_they_are_meant(column, is_right) -> None:
    asked = [row for row in ROWS if row[column] != "?"]
    assert len(asked) > 300
    assert [row["sentence"] for row in asked if not is_right(row)] == []


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


# --- direction words -------------------------------------------------------------------------


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
