"""The view of partial matches: a list to sort and to filter, both clips, and verdicts that can be taken back."""

from typing import Any

import ipywidgets as w

from corrlib.explore import words
from corrlib.explore.page import view
from corrlib.explore.session import Session
from corrlib.explore.sound import Player
from corrlib.explore.style import FULL, LABEL, NARROW
from corrlib.explore.verdicts import Verdicts

ORDERS = {"disagreement": "disagreement", "estimate": "estimated", "truth": "true", "caption": "text"}
KEYS = "Keys: arrows choose a pair, a accepts, r rejects, u takes back, p plays the other clip, o the annotated one."


class Judging:
    """Pairs that nobody annotated but the ensemble estimates high, to be accepted or rejected one after the other."""

    def __init__(self, session: Session, verdicts: Verdicts, count: int = 200) -> None:
        self.session, self.verdicts = session, verdicts
        self.pairs: list[Any] = list(session.partial_matches(count).itertuples())
        known = [name for name in ORDERS if name != "truth" or session.truth is not None]
        self.order = w.Dropdown(options=known, description="Sort by", layout=NARROW, style=LABEL)
        self.kept = w.Dropdown(
            options=[("all", ""), ("not judged", "open"), ("accepted", "accepted"), ("rejected", "rejected")],
            description="Show",
            layout=NARROW,
            style=LABEL,
        )
        heard = sorted({label for pair in self.pairs for label in session.labels(pair.clip)})
        self.label = w.Dropdown(
            options=[("anything", ""), *((h, h) for h in heard)], description="Heard", layout=NARROW, style=LABEL
        )
        self.wanted = w.Text(
            description="Words", placeholder="of the caption", continuous_update=False, layout=NARROW, style=LABEL
        )
        self.choice = w.Select(description="Pair", rows=10, layout=FULL, style=LABEL)
        self.accept = w.Button(
            description="Accept", tooltip="the caption describes this clip (a)", button_style="success", icon="check"
        )
        self.reject = w.Button(description="Reject", tooltip="it does not (r)", button_style="danger", icon="times")
        self.undo = w.Button(description="Undo", tooltip="take the last verdict back (u)", icon="undo", disabled=True)
        self.other, self.own, self.facts, self.own_facts = Player(), Player(), w.HTML(), w.HTML()
        self.phrases, self.claims, self.saved, self.counted = w.HTML(), w.HTML(), w.HTML(), w.HTML()
        self.accept.on_click(lambda _: self.judge(True))
        self.reject.on_click(lambda _: self.judge(False))
        self.undo.on_click(lambda _: self.take_back())
        for control in (self.order, self.kept, self.label, self.wanted):
            control.observe(lambda _: self.relist(), "value")
        self.relist()
        self.choice.observe(lambda _: self.show(), "value")

    def panel(self) -> w.VBox:
        """The view."""
        heard = [self.label] if len(self.label.options) > 1 else []
        keys = {
            "a": lambda: self.judge(True),
            "r": lambda: self.judge(False),
            "u": self.take_back,
            "p": self.other.play,
            "o": self.own.play,
        }
        legend = "Below each phrase: by how much the similarity to the clip falls when it is left out."
        return view(
            w.HBox([self.order, self.kept, *heard, self.wanted], layout=w.Layout(flex_flow="row wrap")),
            self.choice,
            self.counted,
            self.phrases,
            w.HTML(f"<small>{legend} {KEYS}</small>"),
            self.claims,
            w.HBox([self.other, self.facts]),
            w.HBox([self.accept, self.reject, self.undo, self.saved]),
            w.HBox([self.own, self.own_facts]),
            keys=keys,
        )

    def shown(self) -> list[int]:
        """Places of the pairs that the filters leave, in the order that is asked for."""
        column, wanted = ORDERS[self.order.value], self.wanted.value.lower().split()
        places = [
            place
            for place, pair in enumerate(self.pairs)
            if all(word in pair.text.lower() for word in wanted)
            and (not self.label.value or self.label.value in self.session.labels(pair.clip))
            and (not self.kept.value or self.kept.value == (self.verdict(place) or "open"))
        ]
        return sorted(places, key=lambda p: getattr(self.pairs[p], column), reverse=column != "text")

    def verdict(self, place: int) -> str:
        """`accepted`, `rejected` or nothing yet."""
        pair = self.pairs[place]
        given = self.verdicts.of(self.session.items.caption_ids[pair.caption], self.session.name(pair.clip))
        return {True: "accepted", False: "rejected", None: ""}[given]

    def relist(self, place: int | None = None) -> None:
        """Fill the list anew and choose a pair: `place`, else the one that was chosen, else the first."""
        places, before = self.shown(), self.choice.value
        self.choice.options = [(self._line(p), p) for p in places]
        self.choice.value = next((p for p in (place, before) if p in places), places[0] if places else None)
        self.counted.value = (
            f"<small>{len(places)} of {len(self.pairs)} pairs</small>"
            if places
            else "<small>No pair fits: show all, or ask for other words.</small>"
        )
        for button in (self.accept, self.reject):
            button.disabled = not places
        self.show()

    def _line(self, place: int) -> str:
        pair = self.pairs[place]
        mark = {"accepted": "✓", "rejected": "✗", "": " "}[self.verdict(place)]
        name = words.shortened(self.session.name(pair.clip))
        return f"{mark} {100 * pair.disagreement:+.1f} points · {pair.text} → {name}"

    def show(self) -> None:
        """Both clips of the chosen pair, and what is known of it."""
        if self.choice.value is None:
            return
        s, pair = self.session, self.pairs[self.choice.value]
        home = int(s.items.clip_of_caption[pair.caption])
        self.other.show(s.corpus, pair.clip)
        self.own.show(s.corpus, home)
        p_own = float(s.clip_given_caption[home, pair.caption])
        self.facts.value = "<i>Not annotated</i>" + words.clip_facts(s, pair.clip, pair.similarity, pair.estimated)
        self.own_facts.value = "<i>Annotated: the clip it was written for</i>" + words.clip_facts(
            s, home, float(s.similarity[home, pair.caption]), p_own
        )
        self.phrases.value = words.marked_phrases(s.phrases(pair.text, pair.clip))
        self.claims.value = words.claim_list(s.claims(pair.clip, pair.caption))

    def judge(self, accepted: bool) -> None:
        """Save a verdict on the chosen pair and go on to the next; what went wrong is said beside the buttons."""
        place = self.choice.value
        if place is None:
            return
        pair, places = self.pairs[place], [p for _, p in self.choice.options]
        following = places[places.index(place) + 1 :] + places[: places.index(place)][-1:]
        home = self.session.name(int(self.session.items.clip_of_caption[pair.caption]))
        clip, caption = self.session.name(pair.clip), self.session.items.caption_ids[pair.caption]
        try:
            self.verdicts.give(caption, pair.text, home, clip, accepted)
        except (ValueError, OSError) as error:
            self.saved.value = f"<b>Not saved:</b> {words.escape(str(error))}"
            return
        self._say(following[0] if following else place)

    def take_back(self) -> None:
        """Undo the last verdict of this session, and choose its pair."""
        try:
            back = self.verdicts.undo()
        except OSError as error:
            self.saved.value = f"<b>Not saved:</b> {words.escape(str(error))}"
            return
        if back:
            ids = self.session.items.caption_ids
            self._say(next((p for p, pair in enumerate(self.pairs) if ids[pair.caption] == back), None))

    def _say(self, place: int | None) -> None:
        path = words.escape(str(self.verdicts.path))
        self.saved.value = f"{len(self.verdicts.rows)} captions judged, saved in {path}"
        self.undo.disabled = not self.verdicts.before
        self.relist(place)
