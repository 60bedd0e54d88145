"""Settings of what reads a sentence and chooses: language, scores, rectifier."""

from typing import Literal

from pydantic import Field

from tasutils.parts.base import Part, Template


class LanguageConfig(Part):
    """Parsing and negatives; a negative phrase is embedded inside `negative_template`."""

    spacy_model: str = "en_core_web_sm"
    synonym_threshold: float = Field(default=0.9, ge=0, le=1)
    negative_template: Template = "a photo of {}"


class ScoreConfig(Part):
    """Weights of S = V + alpha P + lambda N; lambda depends on the data set."""

    alpha: float
    lambda_by_dataset: dict[str, float] = {}
    lambda_default: float

    def lambda_for(self, dataset: str | None) -> float:
        """Lambda of a data set; the default for None and for data sets that are not listed."""
        return self.lambda_by_dataset.get(dataset or "", self.lambda_default)


class RectifierConfig(Part):
    """Direction words: the article's four, the extended list, or no rectifier at all."""

    form: Literal["paper", "extended", "none"] = "extended"
