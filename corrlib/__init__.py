"""Estimated audio-caption correspondences for language-based audio retrieval."""
