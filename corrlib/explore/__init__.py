"""Seeing and hearing correspondences: what 13_explore is made of."""

from corrlib.explore.desk import Desk, is_interactive
from corrlib.explore.phrases import contributions, split_phrases
from corrlib.explore.session import Session, models
from corrlib.explore.verdicts import Verdicts

__all__ = ["Desk", "Session", "Verdicts", "contributions", "is_interactive", "models", "split_phrases"]
