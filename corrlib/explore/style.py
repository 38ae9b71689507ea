"""Widths and labels of the controls of 13_explore."""

import ipywidgets as w

FULL = w.Layout(width="100%", max_width="980px")
WIDE = w.Layout(width="100%", max_width="640px")
NARROW = w.Layout(width="240px")
LABEL = {"description_width": "80px"}
