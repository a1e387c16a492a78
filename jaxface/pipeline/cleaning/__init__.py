"""Cleaning of a folder of faces: candidate names, intake, ranking, near-duplicates, blocks for a person, wrong labels, split and merged people."""
