"""What leaves the house: models as objects and folders, estimates as tables, search in a folder of one's own sounds."""

from corrlib.sharing.load import load_model
from corrlib.sharing.model import RetrievalModel

__all__ = ["RetrievalModel", "load_model"]
