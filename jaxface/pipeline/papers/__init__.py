"""The systems of papers: what the paper reports and what was measured here, side by side."""
