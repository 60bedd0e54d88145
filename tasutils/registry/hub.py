"""What a repository of the Hugging Face hub holds, by the hub's own list."""

import json
import os
from fnmatch import fnmatch
from urllib.parse import quote

from tasutils.errors import TasError
from tasutils.registry import PublishedModel
from tasutils.registry.fetch import Expected, open_url

HUB = "https://huggingface.co"


def hub_address(mirror: str | None = None) -> str:
    """The hub: a mirror, else $HF_ENDPOINT as huggingface_hub reads it, else huggingface.co."""
    return (mirror or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def file_url(model: PublishedModel, name: str, hub: str) -> str:
    """Address of a file of the model's repository at its revision."""
    return f"{hub}/{model.hub}/resolve/{model.revision or 'main'}/{quote(name)}"


def list_repository(model: PublishedModel, hub: str) -> dict[str, Expected]:
    """Name -> size and, where the hub states it, SHA-256 of every file of the repository.

    Raises TasError in one line when the hub does not answer, or with something else.
    """
    url = f"{hub}/api/models/{model.hub}/revision/{model.revision or 'main'}?blobs=true"
    with open_url(url, {}, model.home()) as answer:
        text = answer.read()
    try:
        entries = json.loads(text)["siblings"]
        return {
            entry["rfilename"]: Expected(
                size=entry.get("size"), sha256=(entry.get("lfs") or {}).get("sha256")
            )
            for entry in entries
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TasError(f"{url} is no list of a repository's files; name the hub itself") from error


def also_wanted(model: PublishedModel, listed: dict[str, Expected]) -> list[str]:
    """Names in a list that the model's `also` asks for, see `PublishedModel`.

    Raises TasError if nothing in the list answers to a group.
    """
    wanted: dict[str, None] = {}
    for group in model.also:
        matches = [[n for n in listed if fnmatch(n, p) and "/" not in n] for p in group]
        found = next(filter(None, matches), None)
        if found is None:
            raise TasError(f"{model.hub} has no file {' or '.join(group)}; see its page on the hub")
        wanted |= dict.fromkeys(found)
    return [name for name in wanted if name not in {file.name for file in model.files}]
