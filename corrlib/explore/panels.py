"""The views of 13_explore as ipywidgets: search, clip, matrix, partial matches.

Every control has a label and takes keys.
"""

from typing import Any

import ipywidgets as w

from corrlib.explore import matrix, words
from corrlib.explore.session import Session
from corrlib.explore.sound import Player
from corrlib.explore.verdicts import Verdicts

WIDE = w.Layout(width="640px")
NARROW = w.Layout(width="190px")
LABEL = {"description_width": "110px"}


def _card(session: Session, clip: int, player: Player, **facts: Any) -> w.HBox:
    return w.HBox([player.show(session.corpus, clip), w.HTML(words.clip_facts(session, clip, **facts))])


def search(session: Session, caption: str, count: int = 5) -> w.VBox:
    """Type a caption: the ranked clips, to hear and to see."""
    box = w.Text(
        caption,
        description="Caption",
        placeholder="what should be heard",
        continuous_update=False,
        layout=WIDE,
        style=LABEL,
    )
    button = w.Button(description="Search", tooltip="rank all clips by this caption", button_style="primary")
    how_many = w.BoundedIntText(count, min=1, max=50, description="Clips", layout=NARROW, style=LABEL)
    message, cards = w.HTML(), w.VBox()

    def run(*_: Any) -> None:
        if not box.value.strip():
            message.value = "Type what should be heard."
            return
        rows: list[Any] = list(session.search(box.value, how_many.value).itertuples())
        cards.children = [
            _card(session, row.clip, Player(), similarity=row.similarity, estimated=row.estimated, place=place)
            for place, row in enumerate(rows, 1)
        ]
        message.value = f"{len(rows)} of {session.items.clips:,} clips for “{words.escape(box.value)}”"

    box.observe(run, "value")
    how_many.observe(run, "value")
    button.on_click(run)
    run()
    return w.VBox([w.HBox([box, button]), how_many, message, cards])


def clip(session: Session) -> w.VBox:
    """Choose a clip: its best captions, its own starred."""
    names = [(session.name(c), c) for c in range(session.items.clips)]
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
    return w.VBox([w.HBox([choice, count]), w.HBox([player, facts]), table])


def heat_map(session: Session, clips: int = 40) -> w.VBox:
    """The matrix of some clips and captions: hover, zoom, click to hear; the two lists do the same by keyboard."""
    known = [(title, kind) for kind, title in matrix.KINDS.items() if kind != "true" or session.truth is not None]
    kind = w.Dropdown(options=known, value="clip", description="Matrix", layout=WIDE, style=LABEL)
    most = min(100, session.items.clips)  # beyond it nothing can be read
    size = w.BoundedIntText(min(clips, most), min=3, max=most, description="Clips", style=LABEL, layout=NARROW)
    draw = w.BoundedIntText(0, min=0, max=10_000, description="Draw", style=LABEL, layout=NARROW)
    column = w.Dropdown(description="Caption", layout=WIDE, style=LABEL)
    row = w.Dropdown(description="Clip", layout=WIDE, style=LABEL)
    holder, player, facts = w.VBox(), Player(), w.HTML()

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
        figure = matrix.heat_map(session, rows, columns, kind.value)
        figure.data[0].on_click(clicked)  # pyrefly: ignore[missing-attribute]
        holder.children = [figure]

    def relist(*_: Any) -> None:
        redraw()
        row.options = [(session.name(r), r) for r in lists["rows"]]
        column.options = [(session.items.texts[c], c) for c in lists["columns"]]
        show(play=False)

    kind.observe(redraw, "value")
    for control in (size, draw):
        control.observe(relist, "value")
    relist()
    for control in (row, column):
        control.observe(show, "value")
    return w.VBox([w.HBox([kind, size, draw]), holder, column, row, w.HBox([player, facts])])


def partial_matches(session: Session, verdicts: Verdicts, count: int = 200) -> w.VBox:
    """Walk through pairs that nobody annotated but the ensemble estimates high; accept or reject them."""
    rows: list[Any] = list(session.partial_matches(count).itertuples())
    choice = w.Select(description="Pair", rows=10, layout=w.Layout(width="980px"), style=LABEL)
    accept = w.Button(
        description="Accept", tooltip="the caption describes this clip", button_style="success", icon="check"
    )
    reject = w.Button(description="Reject", tooltip="it does not", button_style="danger", icon="times")
    other, own, facts, own_facts = Player(), Player(), w.HTML(), w.HTML()
    phrases, claims, saved = w.HTML(), w.HTML(), w.HTML()

    def line(place: int, row: Any) -> tuple[str, int]:
        given = verdicts.of(session.items.caption_ids[row.caption], session.name(row.clip))
        mark = {True: "✓", False: "✗", None: " "}[given]
        return f"{mark} {100 * row.disagreement:+.1f} points · {row.text} → {session.name(row.clip)}", place

    def relist(place: int) -> None:
        choice.options = [line(i, row) for i, row in enumerate(rows)]
        choice.value = place

    def show(*_: Any) -> None:
        if choice.value is None:
            return
        row = rows[choice.value]
        home = int(session.items.clip_of_caption[row.caption])
        other.show(session.corpus, row.clip)
        own.show(session.corpus, home)
        p_own = float(session.clip_given_caption[home, row.caption])
        facts.value = "<i>Not annotated</i>" + words.clip_facts(session, row.clip, row.similarity, row.estimated)
        own_facts.value = "<i>Annotated: the clip it was written for</i>" + words.clip_facts(
            session, home, float(session.similarity[home, row.caption]), p_own
        )
        phrases.value = words.marked_phrases(session.phrases(row.text, row.clip))
        claims.value = words.claim_list(session.claims(row.clip, row.caption))

    def judge(accepted: bool) -> None:
        place, row = choice.value, rows[choice.value]
        home = session.name(int(session.items.clip_of_caption[row.caption]))
        verdicts.give(session.items.caption_ids[row.caption], row.text, home, session.name(row.clip), accepted)
        saved.value = f"{len(verdicts.rows)} captions judged, saved in {words.escape(str(verdicts.path))}"
        relist(min(place + 1, len(rows) - 1))

    accept.on_click(lambda _: judge(True))
    reject.on_click(lambda _: judge(False))
    relist(0)
    show()
    choice.observe(show, "value")
    legend = w.HTML(
        "<small>Below each phrase: by how much the similarity to the clip falls when it is left out.</small>"
    )
    return w.VBox(
        [
            choice,
            phrases,
            legend,
            claims,
            w.HBox([other, facts]),
            w.HBox([accept, reject, saved]),
            w.HBox([own, own_facts]),
        ]
    )
