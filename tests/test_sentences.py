"""How many of our own sentences, a third of them traps, are read as they are meant."""

import csv
from pathlib import Path

import pytest

from tasutils.language import Parser, find_directions

PARSER = Parser()
with (Path(__file__).parent / "golden" / "sentences.csv").open(encoding="utf-8") as file:
    ROWS = list(csv.DictReader(file))


def head_is_right(row: dict[str, str]) -> bool:
    words = " ".join(PARSER.parse(row["sentence"]).head_words).lower()
    return f" {words}".endswith(f" {row['head'].lower()}") if row["head"] else not words


def directions_are_right(row: dict[str, str]) -> bool:
    found = dict.fromkeys(d.name for d in find_directions(row["sentence"]))
    return " ".join(found) == row["directions"]


@pytest.mark.parametrize(("is_right", "least"), [(head_is_right, 245), (directions_are_right, 245)])
def test_sentences_are_read_as_they_are_meant(is_right, least) -> None:
    wrong = [row["sentence"] for row in ROWS if not is_right(row)]
    assert len(ROWS) == 245 and len(ROWS) - len(wrong) >= least, wrong
