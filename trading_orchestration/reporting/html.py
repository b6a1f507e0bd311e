"""HTML from nested calls: everything that is not markup already is escaped.

element("p", "5 < 6 ", element("b", "really"), klass="note")  # <p class="note">5 &lt; 6 <b>really</b></p>
"""

from html import escape

_WITHOUT_END = {"meta", "img", "br"}


class Markup(str):
    """Text that is HTML already; made by `element` and `fragment` only."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str) -> Markup:
    """An element. `klass` stands for `class`, and an underscore in a name for a hyphen."""
    named = {name.replace("klass", "class").replace("_", "-"): value for name, value in attributes.items()}
    head = "".join(f' {name}="{escape(value)}"' for name, value in named.items())
    if tag in _WITHOUT_END:
        return Markup(f"<{tag}{head}>")
    return Markup(f"<{tag}{head}>{fragment(*children)}</{tag}>")


def fragment(*children: str) -> Markup:
    """Elements and texts one after the other."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children))
