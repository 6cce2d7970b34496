"""Formulas as MathML, which browsers show without JavaScript, in a font that the site brings.

The font is STIX Two Math (SIL Open Font License), from the package ziamath, as WOFF and only with
the glyphs of mathematics.
"""

import logging as std_logging
import re
from pathlib import Path

import ziamath
from docutils import nodes
from fontTools import subset
from latex2mathml.converter import convert
from sphinx.util import logging

logger = logging.getLogger(__name__)

CODES = [
    *range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x2B0, 0x370), *range(0x370, 0x400),
    *range(0x2010, 0x2070), *range(0x20D0, 0x20F0), *range(0x2100, 0x2150),
    *range(0x2190, 0x2200), *range(0x2200, 0x2300), *range(0x2300, 0x2330),
    *range(0x239B, 0x23B8), *range(0x23D0, 0x23E2), *range(0x27E6, 0x27F0), *range(0x2A00, 0x2A10),
    *range(0x1D400, 0x1D800),
]  # fmt: skip


def mathml(latex, display):
    """The MathML element for a formula. ValueError if it cannot be read."""
    try:
        text = convert(latex.strip(), display="block" if display else "inline")
    except Exception as error:
        raise ValueError(f"{type(error).__name__} {error}".strip()) from error
    if unknown := re.search(r"\\[a-zA-Z]*", text):
        raise ValueError(f"{unknown[0]} is not known")
    return text


def write(self, latex, display, location):
    try:
        return mathml(latex, display)
    except ValueError as error:
        logger.warning("formula %s: %s", latex, error, location=location)
        return ""


def visit_inline(self, node):
    self.body.append(write(self, node.astext(), False, node))
    raise nodes.SkipNode


def visit_display(self, node):
    latex = node.astext()
    self.body.append(self.starttag(node, "div", CLASS="math-display"))
    self.body.append(write(self, latex, True, node))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def write_font(app, _):
    """Put the font into the site, unless it is there."""
    if app.builder.format != "html":
        return
    source = Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf"
    target = Path(app.outdir) / "_static" / "stix-two-math.woff"
    if target.exists() or not target.parent.exists():
        return
    std_logging.getLogger("fontTools").setLevel(std_logging.WARNING)
    options = subset.Options(flavor="woff", layout_features=["ssty", "rtlm", "dtls"])
    font = subset.load_font(str(source), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=CODES)
    subsetter.subset(font)
    subset.save_font(font, str(target), options)


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_display, None))
    app.connect("build-finished", write_font)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
