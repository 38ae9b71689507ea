"""What Sphinx is taught for the site: formulas as MathML, which needs no script, and the Matches page's template."""

import html
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

MATHML = "http://www.w3.org/1998/Math/MathML"
ACCENTS = ("\u02c9", "\u02c6", "\u02dc", "~", "^", "\u00af")  # of bar, hat and tilde
ENTITY = re.compile(r"&(?!amp;|lt;|gt;|quot;|apos;)[A-Za-z]+;")  # those of HTML, which XML does not know
ElementTree.register_namespace("", MATHML)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx, which takes this module for an extension."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.add_config_value("corrlib_matches", "", "html", str)
    app.connect("html-page-context", _matches)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(translator: Any, node: nodes.Node) -> None:
    translator.body.append(formula(node.astext(), as_block=False))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.Node) -> None:
    # scrolls where it is wider than the page, by keyboard too
    shown = formula(node.astext(), as_block=True)
    translator.body.append(f'<div class="formula" tabindex="0" role="region" aria-label="formula">{shown}</div>')
    raise nodes.SkipNode


def formula(tex: str, as_block: bool) -> str:
    """MathML of a formula in TeX. An accented letter keeps its index beside it: docutils sets it below."""
    text = ENTITY.sub(lambda found: html.unescape(found[0]), tex2mathml(tex, as_block=as_block))
    tree = ElementTree.fromstring(text)
    for parent in list(tree.iter()):
        for place, own in enumerate(list(parent)):
            if own.tag == f"{{{MATHML}}}munderover" and own[2].text in ACCENTS:
                letter, index, accent = own
                indexed, accented = ElementTree.Element(f"{{{MATHML}}}msub"), ElementTree.Element(f"{{{MATHML}}}mover")
                accented.set("accent", "true")
                accented.extend([letter, accent])
                indexed.extend([accented, index])
                parent[place] = indexed
    return ElementTree.tostring(tree, encoding="unicode")


def _matches(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], _tree: nodes.document | None
) -> str | None:
    """The template of the page `matches`; others keep theirs."""
    if page != "matches":
        return None
    data = Path(app.config.corrlib_matches).read_text(encoding="utf-8")
    # JSON in a script: `<` would let a caption end the script, and as an escape it says the same
    context["matches_json"] = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return "matches.html"
