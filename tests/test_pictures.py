"""Blank axes, and axes that hold no more than a line of reference and a legend, draw nothing of data."""

import matplotlib.pyplot as plt
import numpy as np

from corrlib.figures import colour
from tests.pictures import drawn


def test_marks_of_data_are_counted_and_nothing_else(tmp_path):
    figure, axes = plt.subplots(1, 6)
    blue = colour("passt_tiny")
    axes[1].axvline(0, color="0.4")
    axes[1].plot([], [], color=blue, label="nothing")
    axes[1].legend()
    axes[2].plot([np.nan, np.nan], [1, 2], "o", color=blue)
    axes[3].errorbar([1, 2], [1, 2], [1, 1], fmt="o", color=blue, label="two", capsize=2)
    axes[3].legend()
    axes[4].bar([1, 2, 3], [1, 2, 3], color=blue)
    axes[5].imshow(np.eye(3))
    figure.legend(handles=axes[3].get_legend_handles_labels()[0])
    figure.savefig(tmp_path / "figure.svg")
    plt.close(figure)
    dots, bars, caps = 2, 2 * 2, 2 * 2
    assert drawn(tmp_path / "figure.svg") == [
        {},
        {},
        {},
        {blue.lower(): dots + bars + caps},
        {blue.lower(): 3 * 4},
        {"image": 1},
    ]
