"""Measures of face detection: readers of labelled photos, matching, precision and recall, errors of points."""
