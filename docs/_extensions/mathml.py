"""Formulas as MathML, which browsers show without JavaScript, in a font that the site brings.

The font is STIX Two Math (SIL Open Font License), from the package ziamath, as WOFF and only with
the glyphs of mathematics.
"""

import logging as std_logging
from pathlib import Path
from xml.etree import ElementTree

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


# what latex2mathml does not know, in words that it does
EQUAL = {
    "{aligned}": "{align*}", r"\lVert": r"\|", r"\rVert": r"\|", r"\lvert": "|", r"\rvert": "|",
    r"\arg\max": r"\operatorname{argmax}", r"\arg\min": r"\operatorname{argmin}",
}  # fmt: skip
ROWS = {"math", "mrow", "mtd", "mstyle"}  # elements whose children stand side by side
LIMITS = {"\u2211", "\u220f", "max", "min", "argmax", "argmin"}  # these have limits below
UNDER = {"msub": "munder", "msubsup": "munderover"}


def mathml(latex, display=False):
    """The MathML element for a formula. ValueError if it cannot be read."""
    text = latex.strip()
    braces = text.replace(r"\{", "").replace(r"\}", "")
    if braces.count("{") != braces.count("}"):
        raise ValueError("cannot be read: its braces do not match")
    for ours, theirs in EQUAL.items():
        text = text.replace(ours, theirs)
    try:
        text = convert(text, display="block" if display else "inline")
        text = text.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "")
        math = ElementTree.fromstring(text)  # ParseError: "&" outside of a table
    except Exception as error:
        raise ValueError(f"cannot be read: {type(error).__name__} {error}".strip()) from error
    for element in math.iter():
        if element.text:
            element.text = element.text.replace(r"\_", "_")
        if "\\" in (element.text or ""):
            raise ValueError(f"cannot be read: {element.text} is not known here")
    _improve(math, display)
    math.set("alttext", latex.strip())
    return ElementTree.tostring(math, encoding="unicode")


def _improve(element, display):
    """Names as one word with space around them, limits below, no space around bars."""
    if element.tag in ROWS:
        _join_letters(element)
    for child in element:
        _improve(child, display)
    if element.tag == "mo":
        if (element.text or "").isalpha() and len(element.text) > 1:
            element.tag = "mi"
        elif element.text in ("|", "\u2016", "/"):
            element.attrib |= {
                "lspace": "0",
                "rspace": "0",
                "stretchy": element.get("stretchy", "false"),
            }
    elif element.tag in UNDER and element[0].text in LIMITS:
        beside = element[0].text.isalpha() and not display  # a sum moves its limits itself
        element.tag = element.tag if beside else UNDER[element.tag]
    if element.tag in ROWS:
        _space_names(element)


def _join_letters(row):
    """<mi mathvariant="normal"> of several letters in a row as one word."""
    word = None
    for child in [*row]:
        letter = child.tag == "mi" and child.get("mathvariant") == "normal" and len(child.text) == 1
        if letter and word is not None:
            word.text += child.text
            word.attrib.pop("mathvariant", None)
            row.remove(child)
        else:
            word = child if letter else None


def _is_name(element):
    """Whether it is a word such as log or max, perhaps with an index."""
    if element.tag in ("msub", "msup", "msubsup", "munder", "munderover") and len(element):
        element = element[0]
    if element.tag == "mrow" and len(element) == 1:
        element = element[0]
    return element.tag == "mi" and len(element.text or "") > 1 and element.text.isalpha()


def _space_names(row):
    """Thin space between a name and a symbol, but none before a parenthesis."""
    children = [*row]
    for child in children:
        row.remove(child)
    for before, child in zip([None, *children], children):
        if before is not None and _parts(before, child):
            ElementTree.SubElement(row, "mspace", width="0.167em")
        row.append(child)


def _parts(before, child):
    """Whether there is space between two elements that the browser does not make."""
    closing = before.tag == "mo" and before.text in (")", "]", "}")
    symbols = "mo" not in (before.tag, child.tag) and "mspace" not in (before.tag, child.tag)
    return (_is_name(child) and (closing or symbols)) or (_is_name(before) and symbols)


def write(self, latex, display, location):
    try:
        return mathml(latex, display)
    except ValueError as error:
        logger.warning("the formula %s %s", latex, error, location=location)
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
