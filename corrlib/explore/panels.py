"""The views of 13_explore as ipywidgets: search, clip, matrix (partial matches: corrlib.explore.judging).

Every control has a label and takes keys.
"""

from typing import Any

import ipywidgets as w
import pandas as pd

from corrlib.explore import matrix, words
from corrlib.explore.page import Page, view
from corrlib.explore.session import Session, models
from corrlib.explore.sound import Player
from corrlib.explore.style import LABEL, NARROW, WIDE
from corrlib.files import write_atomically
from corrlib.study import runs


def _card(session: Session, clip: int, player: Player, **facts: Any) -> w.HBox:
    return w.HBox([player.show(session.corpus, clip), w.HTML(words.clip_facts(session, clip, **facts))])


def search(session: Session, asked: dict[str, Any]) -> w.VBox:
    """Type a caption: the ranked clips, to hear and to see; beside them those of another model.

    asked: `caption`, `count` and `beside` (a model of the study, or empty); what is typed is kept there, so that
    another model answers the same question.
    """
    box = w.Text(
        asked["caption"],
        description="Caption",
        placeholder="what should be heard",
        continuous_update=False,
        layout=WIDE,
        style=LABEL,
    )
    button = w.Button(description="Search", tooltip="rank all clips by this caption", button_style="primary")
    save = w.Button(description="Save table", tooltip="write what was found as a CSV", icon="download")
    how_many = w.BoundedIntText(asked["count"], min=1, max=50, description="Clips", layout=NARROW, style=LABEL)
    others = [name for name in models().get(session.study, []) if name != session.model]
    beside = w.Dropdown(
        options=[("no other model", ""), *((name, name) for name in others)],
        value=asked["beside"] if asked["beside"] in others else "",
        description="Beside",
        layout=WIDE,
        style=LABEL,
    )
    message, columns = w.HTML(), w.HBox(layout=w.Layout(flex_flow="row wrap", align_items="flex-start"))
    found: dict[str, pd.DataFrame] = {}
    opened: dict[str, Session] = {}

    def column(own: Session) -> w.VBox:
        table = own.search(box.value, how_many.value)
        found[own.model] = table.assign(model=own.model, caption=box.value, name=[own.name(c) for c in table["clip"]])
        rows: list[Any] = list(table.itertuples())
        cards = [
            _card(own, row.clip, Player(), similarity=row.similarity, estimated=row.estimated, place=place)
            for place, row in enumerate(rows, 1)
        ]
        title = [w.HTML(f"<b>{words.escape(own.model)}</b>")] if beside.value else []
        return w.VBox([*title, *cards], layout=w.Layout(flex="1 1 420px", min_width="0"))

    def run(*_: Any) -> None:
        asked.update(caption=box.value, count=how_many.value, beside=beside.value)
        if not box.value.strip():
            message.value = "Type what should be heard."
            return
        found.clear()
        if beside.value and beside.value not in opened:
            opened[beside.value] = Session(session.study, beside.value)
        columns.children = [column(session), *([column(opened[beside.value])] if beside.value else [])]
        shown = min(how_many.value, session.items.clips)
        message.value = f"{shown} of {session.items.clips:,} clips for “{words.escape(box.value)}”" + _hint(box.value)

    def _hint(text: str) -> str:
        unknown = session.unknown_words(text)
        named = ", ".join(f"“{words.escape(word)}”" for word in unknown)
        return f"<br>No caption that the model was trained on holds {named}: expect little of it." if unknown else ""

    def write(_: Any) -> None:
        if not found:
            return
        folder = runs.root() / session.study / "explore"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"search-{len(list(folder.glob('search-*.csv'))) + 1}.csv"
        write_atomically(path, pd.concat(found.values()).to_csv(index=False))
        message.value = f"Saved in {words.escape(str(path))}"

    for control in (box, how_many, beside):
        control.observe(run, "value")
    button.on_click(run)
    save.on_click(write)
    run()
    return view(w.HBox([box, button]), w.HBox([how_many, save]), beside, message, columns)


def clip(session: Session) -> w.VBox:
    """Choose a clip: its best captions, its own starred."""
    names = [(words.shortened(session.name(c)), c) for c in range(session.items.clips)]
    choice = w.Dropdown(options=names, description="Clip", layout=WIDE, style=LABEL)
    count = w.BoundedIntText(15, min=1, max=200, description="Captions", layout=NARROW, style=LABEL)
    player, facts, table = Player(), w.HTML(), w.HTML()

    def run(*_: Any) -> None:
        player.show(session.corpus, choice.value)
        facts.value = words.clip_facts(session, choice.value)
        table.value = words.caption_table(session.best_captions(choice.value, count.value))

    for control in (choice, count):
        control.observe(run, "value")
    run()
    return view(w.HBox([choice, count]), w.HBox([player, facts]), table)


def heat_map(session: Session, clips: int = 40) -> w.VBox:
    """The matrix of some clips and captions: hover, zoom, click to hear; the two lists do the same by keyboard."""
    known = [(title, kind) for kind, title in matrix.KINDS.items() if kind != "true" or session.truth is not None]
    kind = w.Dropdown(options=known, value="clip", description="Matrix", layout=WIDE, style=LABEL)
    most = min(100, session.items.clips)  # beyond it nothing can be read
    size = w.BoundedIntText(min(clips, most), min=3, max=most, description="Clips", style=LABEL, layout=NARROW)
    draw = w.BoundedIntText(0, min=0, max=10_000, description="Draw", style=LABEL, layout=NARROW)
    column = w.Dropdown(description="Caption", layout=WIDE, style=LABEL)
    row = w.Dropdown(description="Clip", layout=WIDE, style=LABEL)
    holder, player, facts = w.VBox(layout=w.Layout(width="100%")), Player(), w.HTML()

    def show(*_: Any, play: bool = True) -> None:
        if row.value is None or column.value is None:
            return
        pair = (row.value, column.value)
        numbers = " · ".join(f"{title}: {float(matrix.values(session, k)[pair]):.4f}" for title, k in known)
        caption = words.escape(session.items.texts[column.value])
        facts.value = f"<p>“{caption}”<br>{numbers}</p>{words.clip_facts(session, row.value)}"
        player.show(session.corpus, row.value)
        if play:
            player.play()

    def clicked(_trace: Any, points: Any, _state: Any) -> None:
        if points.xs:
            with row.hold_trait_notifications(), column.hold_trait_notifications():
                row.value, column.value = lists["rows"][points.xs[0]], lists["columns"][points.ys[0]]
            show()

    lists: dict[str, list[int]] = {}

    def redraw(*_: Any) -> None:
        rows, columns = matrix.block(session, size.value, draw.value)
        lists.update(rows=rows.tolist(), columns=columns.tolist())
        figure = matrix.heat_map(session, rows, columns, kind.value, page.dark, page.width or None)
        figure.data[0].on_click(clicked)  # pyrefly: ignore[missing-attribute]
        holder.children = [figure]

    def relist(*_: Any) -> None:
        redraw()
        row.options = [(words.shortened(session.name(r)), r) for r in lists["rows"]]
        column.options = [(session.items.texts[c], c) for c in lists["columns"]]
        row.value, column.value = lists["rows"][0], lists["columns"][0]
        show(play=False)

    whole = view(w.HBox([kind, size, draw]), holder, column, row, w.HBox([player, facts]))
    page = whole.children[-1]
    assert isinstance(page, Page)
    kind.observe(redraw, "value")
    page.observe(redraw, ["dark", "width"])  # drawn anew: a figure that changes before it is there stays empty
    for control in (size, draw):
        control.observe(relist, "value")
    relist()
    row.observe(show, "value")
    column.observe(show, "value")
    return whole
