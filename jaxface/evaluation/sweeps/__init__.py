"""Sweeps: the figures of one pair list at several levels of a quantity."""
