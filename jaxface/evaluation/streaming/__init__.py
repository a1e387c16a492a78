"""Scores of all pairs and nearest neighbours in blocks; the scores are never stored."""
