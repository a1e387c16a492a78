"""The threshold of a model: measured at a FAR, with its interval, and what it means in use."""
