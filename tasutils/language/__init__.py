"""What the method reads in a sentence: head noun, noun phrases, synonyms, direction words."""

from tasutils.language.parse import Parse, Parser
from tasutils.language.reading import Direction, Plan, find_directions, read_directions
from tasutils.language.wordnet import (
    Candidate,
    SynonymRule,
    Verdict,
    mine_negatives,
    nearest,
    path_similarity,
    three_pairs,
)

#: Which phrases of a caption are synonyms of the target, and so no negatives of it.
SYNONYM_RULES: dict[str, SynonymRule] = {"nearest": nearest, "three_pairs": three_pairs}

__all__ = [
    "SYNONYM_RULES", "Candidate", "Direction", "Parse", "Parser", "Plan", "Verdict",
    "find_directions", "mine_negatives", "path_similarity", "read_directions",
]  # fmt: skip
