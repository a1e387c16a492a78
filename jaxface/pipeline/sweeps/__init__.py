"""Figures at levels of image quality, of embedding size, or of models."""
