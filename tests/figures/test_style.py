"""The style of all figures: text is text, colours and markers of backbones, order of settings, room for text."""

import matplotlib.pyplot as plt
import pytest

from corrlib.figures import style

ODD = ["costs $5 and $6", "$\\text{a}$ dog_barks^2 at 100 %", "a $ sign", "back\\slash {brace}"]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.mark.parametrize("text", ODD)
def test_text_is_drawn_as_it_stands(text):
    """In titles, labels, ticks, legends and annotations: as wide as the same letters outside of mathematics."""
    style.use_style()
    figure, axis = plt.subplots(layout="constrained")
    (line,) = axis.plot([0, 1], label=text)
    axis.set(title=text, xlabel=text)
    axis.set_xticks([0], [text])
    drawn = axis.text(0, 0, text)
    style.legend(figure, [line])
    style.say(figure, text, text)
    figure.canvas.draw()
    assert figure.get_suptitle() == text and figure.get_supxlabel() == text
    inches = drawn.get_window_extent().width / figure.dpi
    assert inches == pytest.approx(style.text_inches(text), rel=0.05)


def test_wrapped_text_fits_and_loses_nothing():
    text = "What each target tells the student about a caption's clips, " * 4
    for inches in (1.5, 3.0, 9.0):
        lines = style.wrap(text, inches, 10, bold=True)
        assert style.text_inches(lines, 10, bold=True) <= inches
        assert lines.split() == text.split()
    assert style.wrap("x" * 60, 1).replace("\n", "") == "x" * 60


def test_a_backbone_keeps_its_colour_and_marker_whatever_stands_beside_it():
    one, two = style.looks(["mn_tiny"]), style.looks(["all backbones", "mn_tiny", "atst_tiny", "passt_tiny"])
    assert one["mn_tiny"] == two["mn_tiny"] == ("#009E73", "^", "MN")
    assert list(two) == ["passt_tiny", "atst_tiny", "mn_tiny", "all backbones"]
    assert len({colour for colour, _, _ in two.values()}) == len({marker for _, marker, _ in two.values()}) == 4


def test_presets_of_one_family_share_the_colour_and_differ_in_marker_and_name():
    looks = style.looks(["mn10", "mn40"])
    assert looks["mn10"][0] == looks["mn40"][0] and looks["mn10"][1] != looks["mn40"][1]
    assert [label for _, _, label in looks.values()] == ["mn10", "mn40"]


def test_settings_in_the_studys_order_and_unknown_ones_behind():
    given = ["zeta", "true", "alpha", "self", "mixture", "stage1", "ensemble", "continued", "self"]
    known = ["stage1", "continued", "self", "ensemble", "mixture", "true"]
    assert style.setting_order(given) == [*known, "alpha", "zeta"]
