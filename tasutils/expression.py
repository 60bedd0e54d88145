"""A referring sentence, read: its head phrase, and the direction words that count."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tasutils.errors import TasError
from tasutils.language.directions import Direction, read_directions
from tasutils.language.parse import Parse, Parser
from tasutils.language.plan import Plan, make_plan
from tasutils.language.released import Reading, read
from tasutils.parts import LanguageConfig, RectifierConfig

if TYPE_CHECKING:
    from tasutils.config import Preset

MAX_CHARACTERS = 2000  # far beyond any referring sentence, far below what slows the parser


@dataclass(frozen=True)
class Expression:
    """A referring sentence, read.

    text: the sentence, spaces tidied; phrase: its head noun phrase; directions: the direction
    words that count; skipped: those that do not, each with its reason; parts: what the words ask
    for with the rectifier's form official (`language.plan`), else none; parse: the whole reading.
    """

    text: str
    phrase: str
    directions: tuple[Direction, ...]
    skipped: tuple[Direction, ...]
    parts: tuple[str, ...]
    parse: Parse


def parse_expression(text: str, parser: Parser, preset: Preset | None = None) -> Expression:
    """Read a sentence; raises TasError if it is no text, blank or over 2,000 characters.

    preset: its language and rectifier tell how; None: their defaults.
    """
    language = LanguageConfig() if preset is None else preset.language
    rules = RectifierConfig() if preset is None else preset.rectifier
    text = _readable(text).lower() if language.lowercase else _readable(text)
    parse = parser.parse(text)
    reading: Reading | None = None
    if language.head_rule == "root" or (rules.gate and rules.form != "none"):
        reading = read(parser.spacy_model, text)
    phrase = parse.phrase
    if language.head_rule == "root" and reading is not None:
        phrase = reading.phrase
    plan = _plan(text, phrase, reading if rules.gate else None, rules)
    return Expression(text, phrase, plan.directions, plan.skipped, plan.parts, parse)


def _readable(text: str) -> str:
    if not isinstance(text, str):
        raise TasError(f"the sentence must be text, not {type(text).__name__}")
    if not any(unicodedata.category(character)[0] not in "ZC" for character in text):
        raise TasError("the sentence is empty; write what to find, e.g. 'the red car on the left'")
    if len(text) > MAX_CHARACTERS:
        raise TasError(
            f"the sentence has {len(text)} characters; shorten it to at most {MAX_CHARACTERS}"
        )
    return " ".join(text.split())


def _plan(text: str, phrase: str, reading: Reading | None, rules: RectifierConfig) -> Plan:
    """Which words count, by the rectifier's form; reading: for its gate, None without one."""
    shut = "" if reading is None else reading.shut(phrase)
    if rules.form == "official":
        return make_plan(text, reading, rules.matching, shut)
    words = read_directions(text, rules.form, rules.matching)
    words = [replace(word, skipped=word.skipped or shut) for word in words]
    counting = tuple(word for word in words if not word.skipped)
    return Plan((), counting, tuple(word for word in words if word.skipped))
