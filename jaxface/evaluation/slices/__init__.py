"""Slices: the figures of a pair list per group of images or identities, and their differences."""
