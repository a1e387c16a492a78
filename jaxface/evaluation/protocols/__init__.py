"""Evaluation protocols: each file reads the official lists of one benchmark, checks their counts, and gives its figures."""
