"""What an executed notebook shows, and what a page would fetch: for tests of notebooks."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd


class Tags(HTMLParser):
    """The tags and attributes of a page, and its text."""

    def __init__(self, html: str = "") -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


class Tables(HTMLParser):
    """The tables of a page as lists of rows of cell texts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[list[str]]] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "table":
            self.found.append([])
        elif tag == "tr":
            self.found[-1].append([])
        elif tag in ("td", "th"):
            self.found[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.found[-1][-1][-1] += data.strip()


def outputs(path: Path) -> list[dict[str, Any]]:
    """All outputs of an executed notebook, in their order."""
    cells = nbformat.read(path, as_version=4).cells
    return [output for cell in cells for output in cell.get("outputs", [])]


def tables(path: Path) -> list[pd.DataFrame]:
    """All HTML tables that an executed notebook shows, in their order, as text."""
    parser = Tables()
    for output in outputs(path):
        parser.feed("".join(output.get("data", {}).get("text/html", "")))
    return [
        pd.DataFrame([row for row in rows[1:] if any(row[1:])], columns=rows[0])
        for rows in parser.found
    ]


def pictures(path: Path) -> list[str]:
    """All pictures of an executed notebook, base64."""
    kinds = ("image/png", "image/jpeg")
    found = (output.get("data", {}) for output in outputs(path))
    return [data[kind] for data in found for kind in kinds if kind in data]


def fetched(html: str) -> list[str]:
    """Addresses that a page would fetch by itself: scripts, styles, pictures, frames, fonts."""
    tags = r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?([^\"'\s>]+)"
    found = re.findall(tags, html) + re.findall(r"url\(\s*[\"']?([^)\"']+)", html)
    found += re.findall(r"@import[^;]+;", html)
    return [place for place in found if not place.startswith(("data:", "#"))]
