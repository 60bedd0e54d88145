"""What every part of a preset is: frozen, and strict about its settings."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# a text with one gap, e.g. "a photo of {}"
Template = Annotated[str, Field(pattern=r"^[^{}]*\{\}[^{}]*$")]


class Part(BaseModel):
    """A frozen group of settings; a setting it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
