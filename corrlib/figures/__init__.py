"""Every plot of the study as a function of tables and arrays, never of models; one style, one saver."""
from corrlib.figures.ablation import along, probability_mass, targets_and_students
from corrlib.figures.comparison import ceiling, differences, learning_curves, results
from corrlib.figures.corpus import ambiguity, contents, spectrogram_sheet
from corrlib.figures.estimate import agreement, calibration, content_order, correspondence_matrices, top_clips
from corrlib.figures.ratings import human_ratings
from corrlib.figures.style import COLOURS, colour, family, looks, save, use_style

__all__ = ["COLOURS", "agreement", "along", "ambiguity", "calibration", "ceiling", "colour", "content_order", "contents",
           "correspondence_matrices", "differences", "family", "human_ratings", "learning_curves", "looks",
           "probability_mass", "results", "save", "spectrogram_sheet", "targets_and_students", "top_clips", "use_style"]
