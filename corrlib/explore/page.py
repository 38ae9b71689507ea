"""What a view must know of the page around it: keys that are meant for it, its width, and whether it is dark."""

from collections.abc import Callable, Mapping
from typing import Any

import anywidget
import ipywidgets as w
import traitlets

VIEW = "corrlib-view"  # class of the boxes whose keys are their own


class Page(anywidget.AnyWidget):
    """Beside the widgets of a view, and shows nothing.

    `dark` follows the page's theme, `width` is that of the view in pixels (0: not known yet).

    Keys that are pressed within the view are no longer the notebook's (there ArrowDown leaves the cell, and `a` inserts
    one). Of a letter in `keys` its function is called, unless somebody is writing.
    """

    dark = traitlets.Bool(False).tag(sync=True)
    width = traitlets.Int(0).tag(sync=True)
    letters = traitlets.List(traitlets.Unicode()).tag(sync=True)

    _esm = """
    function render({ model, el }) {
      const isDark = () => {
        const told = document.body.dataset.jpThemeLight;
        const dark = told ? told === "false" : document.body.classList.contains("vscode-dark");
        if (dark !== model.get("dark")) { model.set("dark", dark); model.save_changes(); }
      };
      const watch = new MutationObserver(isDark);
      watch.observe(document.body, { attributes: true });
      const press = (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || event.key === "Escape") return;
        event.stopPropagation(); // JupyterLab listens further out
        if (!model.get("letters").includes(event.key)) return;
        if (event.target.isContentEditable || /^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
        event.preventDefault();
        model.send({ key: event.key });
      };
      let later = 0;
      const resized = new ResizeObserver(([box]) => {
        clearTimeout(later);
        later = setTimeout(() => {
          const width = Math.floor(box.contentRect.width);
          if (Math.abs(width - model.get("width")) < 20) return; // such as a scroll bar
          model.set("width", width);
          model.save_changes();
        }, 150);
      });
      let view = null, left = 3600;  // frames in which the page may put the widgets in place: a minute
      const settle = () => {
        view = el.closest(".corrlib-view");
        if (view) {
          view.addEventListener("keydown", press);
          resized.observe(view);
        } else if ((left -= 1)) requestAnimationFrame(settle);
      };
      settle();
      isDark();
      return () => {
        left = 1;
        watch.disconnect();
        resized.disconnect();
        if (view) view.removeEventListener("keydown", press);
      };
    }
    export default { render };
    """

    def __init__(self, keys: Mapping[str, Callable[[], Any]] | None = None) -> None:
        super().__init__(letters=list(keys or {}), layout=w.Layout(height="0px", margin="0px"))
        self.acts = dict(keys or {})
        self.on_msg(self._pressed)

    def _pressed(self, _widget: Any, content: Any, _buffers: Any) -> None:
        act = self.acts.get(content.get("key", "")) if isinstance(content, dict) else None
        if act:
            act()


def view(*parts: w.Widget, keys: Mapping[str, Callable[[], Any]] | None = None) -> w.VBox:
    """A box of widgets whose keys are its own; its last child is the Page."""
    box = w.VBox([*parts, Page(keys)])
    box.add_class(VIEW)
    return box
