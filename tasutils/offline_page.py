"""An executed notebook as one HTML page that asks the network for nothing."""

from __future__ import annotations

import base64
import logging
from functools import lru_cache
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "report_template"
_FORMULA_PT = 12.0  # any size: the page scales a formula with its text


def export_html(path: Path) -> str:
    """Return an executed notebook as a page: pictures inside, controls as they stood.

    Formulas ($...$, $$...$$) become pictures, since the page has no script that would set them.
    """
    import nbformat
    from jinja2 import pass_context
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    from tasutils.widgets import freeze

    class Renderer(IPythonRenderer):
        """Sets formulas itself."""

        def block_math(self, body: str) -> str:
            return formula_html(body, display=True)

        def latex_environment(self, name: str, body: str) -> str:
            return formula_html(body, display=True)

        def inline_math(self, body: str) -> str:
            return formula_html(body)

    class Exporter(HTMLExporter):
        """Reads Markdown with `Renderer`."""

        @pass_context
        def markdown2html(self, context: Any, source: str) -> str:
            attachments = context.get("cell", {}).get("attachments", {})
            # what a cell shows as Markdown may hold others' words: no markup, no address with code
            renderer = Renderer(
                escape=True, allow_harmful_protocols=False, attachments=attachments,
                embed_images=True,
            )  # fmt: skip
            return str(MarkdownWithMath(renderer=renderer).render(source))

    exporter = Exporter(
        template_name="offline", extra_template_basedirs=[str(TEMPLATES)], embed_images=True
    )
    exporter.log.setLevel(logging.ERROR)  # it warns of every picture without words
    body, _ = exporter.from_notebook_node(freeze(nbformat.read(path, as_version=4)))
    return str(body)


@lru_cache(maxsize=256)
def formula_html(tex: str, display: bool = False) -> str:
    r"""Return a formula as a picture that stands on its line of text and grows with it.

    Args:
        tex: what stands between the dollar signs, in the TeX that matplotlib knows.
        display: a paragraph of its own, in the middle.

    Returns:
        An <img>, its TeX as alternative text; what cannot be set stays TeX, as <code>.

    >>> formula_html(r"\alpha P")[:39], formula_html(r"\nosuch{x}")
    ('<img class="tas-formula" alt="\\alpha P"', '<code>\\nosuch{x}</code>')
    """
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser

    text, font = f"${tex.strip()}$", FontProperties(math_fontfamily="cm", size=_FORMULA_PT)
    try:
        width, height, depth, *_ = MathTextParser("path").parse(text, dpi=72, prop=font)
    except ValueError:
        return f"<code>{escape(tex)}</code>"
    figure, svg = Figure(figsize=(width / 72, height / 72)), BytesIO()
    figure.text(0, depth / height, text, fontproperties=font)
    figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    source = base64.b64encode(svg.getvalue()).decode("ascii")
    size = f"height: {height / _FORMULA_PT:.3f}em; vertical-align: {-depth / _FORMULA_PT:.3f}em"
    image = (
        f'<img class="tas-formula" alt="{escape(tex.strip())}" style="{size}" '
        f'src="data:image/svg+xml;base64,{source}">'
    )
    return f'<span class="tas-display">{image}</span>' if display else image
