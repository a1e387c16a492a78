"""Pair lists: names, scores, figures and comparisons."""
