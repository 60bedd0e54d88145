"""What the method reads in a sentence: head noun, noun phrases, synonyms, direction words."""

from tasutils.language.directions import Direction, find_directions, read_directions
from tasutils.language.negatives import Candidate, mine_negatives
from tasutils.language.parse import Parse, Parser
from tasutils.language.synonyms import are_synonyms, path_similarity

__all__ = [
    "Candidate",
    "Direction",
    "Parse",
    "Parser",
    "are_synonyms",
    "find_directions",
    "mine_negatives",
    "path_similarity",
    "read_directions",
]
