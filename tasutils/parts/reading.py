"""Settings of what reads a sentence and chooses: language, scores, rectifier, metrics."""

from typing import Literal

from pydantic import Field

from tasutils.parts.base import Part, Template


class LanguageConfig(Part):
    """Parsing and negatives; a negative phrase is embedded inside `negative_template`.

    field: what a data set's sentence is read from: `sent`, its tidied form, or `raw`.
    lowercase: whether the sentence is lower-cased before anything reads it.
    head_rule: how the head phrase is found: by `reading` from left to right (`language.parse`), or
        as the noun chunk of the parse's `root` (`language.released`).
    clean_captions: whether captions lose their stutter, and empty ones score 0; else as generated.
    pronoun_chunks: whether noun chunks led by a pronoun are candidates for negatives.
    synonym_rule: `nearest`: any pair of noun senses with path similarity >= `synonym_threshold`
        decides; `three_pairs`: three pairs of senses of any part of speech above it do.
    """

    spacy_model: str = "en_core_web_sm"
    field: Literal["sent", "raw"] = "sent"
    lowercase: bool = False
    head_rule: Literal["reading", "root"] = "reading"
    clean_captions: bool = True
    pronoun_chunks: bool = False
    synonym_rule: Literal["nearest", "three_pairs"] = "nearest"
    synonym_threshold: float = Field(default=0.9, ge=0, le=1)
    negative_template: Template = "a photo of {}"


class ScoreConfig(Part):
    """Weights of S = V + alpha P + lambda N; lambda depends on the data set.

    logit_scale: whether each cosine is multiplied by the encoder's own scale (CLIP: 100).
    normalise: what becomes of the sums S of a sentence; see `scores.min_max_softmax`.
    strict_official: without negatives, and where the sums do not differ, NaN as in the released
        code, so that mask 0 wins; else N is 0, and the first of equal sums wins.
    """

    alpha: float
    lambda_by_dataset: dict[str, float] = {}
    lambda_default: float
    logit_scale: bool = False
    normalise: Literal["none", "min_max_softmax"] = "none"
    strict_official: bool = False

    def lambda_for(self, dataset: str | None) -> float:
        """Lambda of a data set; the default for None and for data sets that are not listed."""
        return self.lambda_by_dataset.get(dataset or "", self.lambda_default)


class RectifierConfig(Part):
    """Which direction words count, when, and where the picture is cut.

    form: words and what they do: the article's four, the extended list, those of the released code
        with its four parts (`language.released`, `rectifier_released`), or no rectifier at all.
    matching: whether a word counts as a whole `token`, or also inside one ("top" in "laptop").
    gate: whether words count only where the released parser finds either relations or
        superlatives, see `language.released`. Without it, form `official` asks the words alone.
    centers: where a mask is: the `mean` of its pixels, or that rounded down to whole pixels.
    cut: where the picture is divided: at its `middle`, or at the `median` of the centres.
    """

    form: Literal["paper", "extended", "official", "none"] = "extended"
    matching: Literal["token", "substring"] = "token"
    gate: bool = False
    centers: Literal["mean", "floor"] = "mean"
    cut: Literal["middle", "median"] = "middle"


class MetricConfig(Part):
    """How answers are scored: IoU = I / (U + `epsilon`), in px."""

    epsilon: float = Field(default=0.0, ge=0)
