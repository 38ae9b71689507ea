"""Clips and captions embedded once, ranked and measured; intervals, relevance, search."""

from corrlib.evaluation.metrics import per_query, retrieval_metrics

__all__ = ["per_query", "retrieval_metrics"]
