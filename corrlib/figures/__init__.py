"""Every plot of the study as a function of tables and arrays, never of models; one style, one saver."""

from corrlib.figures.ablation import along, points, probability_mass, targets_and_students
from corrlib.figures.benchmark import growth, speedups
from corrlib.figures.comparison import ceiling, differences, learning_curves, results
from corrlib.figures.corpus import ambiguity, contents, decibels, spectrogram_sheet
from corrlib.figures.course import course, headroom, overfit
from corrlib.figures.ensembles import cost, knowledge, likeness
from corrlib.figures.estimate import (
    agreement,
    calibration,
    content_order,
    correspondence_matrices,
    target_row,
    top_clips,
)
from corrlib.figures.explore import partial_matches, ranked_clips, ranked_sounds
from corrlib.figures.ratings import human_ratings
from corrlib.figures.regimes import regimes
from corrlib.figures.style import COLOURS, colour, family, looks, save, use_style
from corrlib.figures.variants import when_it_helps

__all__ = [
    "COLOURS",
    "agreement",
    "along",
    "ambiguity",
    "calibration",
    "ceiling",
    "colour",
    "content_order",
    "contents",
    "correspondence_matrices",
    "cost",
    "course",
    "decibels",
    "differences",
    "family",
    "growth",
    "headroom",
    "human_ratings",
    "knowledge",
    "learning_curves",
    "likeness",
    "looks",
    "overfit",
    "partial_matches",
    "points",
    "probability_mass",
    "ranked_clips",
    "ranked_sounds",
    "regimes",
    "results",
    "save",
    "spectrogram_sheet",
    "speedups",
    "target_row",
    "targets_and_students",
    "top_clips",
    "use_style",
    "when_it_helps",
]
