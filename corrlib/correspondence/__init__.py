"""From teachers to estimated correspondences and to the targets of stage 2."""

from corrlib.correspondence.estimation import ensemble_similarity, estimate, member_similarities, top_correspondences

__all__ = ["ensemble_similarity", "estimate", "member_similarities", "top_correspondences"]
