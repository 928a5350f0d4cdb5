"""Formulas of Markdown as MathML, which a browser draws by itself, without a script or a network."""

import re
from xml.etree import ElementTree

from latex2mathml.converter import convert_to_element
from nbconvert.exporters.html import HTMLExporter, IPythonRenderer, MarkdownWithMath, contextfilter

# a font without the table of a mathematical one leaves indices on the line; one of these comes with most systems
STYLE = '<style>math { font-family: "Cambria Math", "STIX Two Math", "DejaVu Math TeX Gyre", math }</style>'


class Exporter(HTMLExporter):
    """nbconvert's, but for the formulas: what is one and what is code or a mere dollar, nbconvert's own parser says."""

    @contextfilter
    def markdown2html(self, context, source):
        path = context.get("resources", {}).get("metadata", {}).get("path", "")
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = _Renderer(escape=False, embed_images=self.embed_images, path=path, attachments=attachments)
        return MarkdownWithMath(renderer=renderer).render(source)

    def from_notebook_node(self, nb, resources=None, **kw):
        page, resources = super().from_notebook_node(nb, resources, **kw)
        return page.replace("</head>", f"{STYLE}</head>", 1), resources


class _Renderer(IPythonRenderer):
    def inline_math(self, body):
        return mathml(body, "inline") or super().inline_math(body)

    def block_math(self, body):
        return mathml(body, "block") or super().block_math(body)


def mathml(formula: str, display: str = "inline") -> str:
    """TeX as an element <math>, escaped; "" where latex2mathml cannot convert it, or does not know one of its commands.

    display: "inline", or "block" for a formula with a line of its own.
    """
    try:
        element = convert_to_element(formula, display=display)
    except Exception:  # of a dozen classes that have no other base
        return ""
    if any("\\" in text for text in element.itertext()):  # an unknown command is handed on as a name
        return ""
    written = ElementTree.tostring(element, encoding="unicode")
    return re.sub(r"&amp;(#x[0-9A-F]+;)", r"&\1", written)  # symbols come as references, which must not be escaped twice
