"""What an executed notebook shows, and what a page would fetch: for tests of notebooks."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from bs4 import BeautifulSoup


class Tags:
    """The tags and attributes of a page, its text, and what is not for everyone's eyes and hands.

    bare: pictures without words, and addresses of mail.
    """

    def __init__(self, html: str) -> None:
        page = BeautifulSoup(html, "html.parser")
        self.tags = {tag.name for tag in page.find_all()}
        self.names = {name for tag in page.find_all() for name in tag.attrs}
        self.text = page.get_text()
        self.headings = [heading.get_text(strip=True) for heading in page("h1")]
        self.bare = page.select('img:not([alt]), img[alt=""], a[href*="mailto:"]')


def tables_of(html: str) -> list[pd.DataFrame]:
    """The tables of a page as text; rows that say nothing but their name are left out."""
    found = []
    for table in BeautifulSoup(html, "html.parser")("table"):
        rows = [[c.get_text(strip=True) for c in row(["td", "th"])] for row in table("tr")]
        body = [row for row in rows[1:] if any(row[1:])]
        found.append(pd.DataFrame(body, columns=rows[0]))
    return found


def outputs(path: Path) -> list[dict[str, Any]]:
    """All outputs of an executed notebook, in their order."""
    cells = nbformat.read(path, as_version=4).cells
    return [output for cell in cells for output in cell.get("outputs", [])]


def tables(path: Path) -> list[pd.DataFrame]:
    """All HTML tables that an executed notebook shows, in their order, as text."""
    shown = ("".join(output.get("data", {}).get("text/html", "")) for output in outputs(path))
    return [table for html in shown for table in tables_of(html)]


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
