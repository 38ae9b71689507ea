"""Clips and captions embedded once, ranked and measured; intervals, relevance, search."""
