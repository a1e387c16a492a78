"""jaxface: face-recognition embedding networks in JAX, from a folder of faces to a verified, exported model."""

__version__ = "0.1.0"
