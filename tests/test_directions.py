"""Direction words: which count, in which form, and why the others do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasutils.errors import TasError
from tasutils.language.directions import EXTENDED_WORDS, find_directions, read_directions

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


@pytest.mark.parametrize(("text", "wanted"), rows(DIRECTIONS))
def test_extended_directions(text: str, wanted: str) -> None:
    assert " ".join(d.name for d in find_directions(text, "extended")) == wanted


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
    assert " ".join(d.name for d in find_directions(text, "paper")) == wanted


def test_skipped_words_keep_their_reason_and_place() -> None:
    (word,) = read_directions("car to the left of the dog")
    assert (word.token, word.span, word.skipped) == ("left", (11, 15), "relation")


def test_forms() -> None:
    assert find_directions("left dog", "none") == []
    with pytest.raises(TasError, match="unknown rectifier form 'best'"):
        find_directions("left dog", "best")  # type: ignore[arg-type]


@given(st.text(max_size=80), st.sampled_from(["paper", "extended"]))
def test_spans_are_tokens_of_the_text(text: str, form: str) -> None:
    for direction in read_directions(text, form):  # type: ignore[arg-type]
        start, end = direction.span
        assert text[start:end] == direction.token
        assert direction.token.lower() in EXTENDED_WORDS


@given(st.lists(st.sampled_from([*EXTENDED_WORDS, "of", "the", "dog", "second", "from"])))
def test_extended_never_stumbles_and_only_leaves_out(words: list[str]) -> None:
    text = " ".join(words)
    assert set(find_directions(text)) <= set(read_directions(text))
