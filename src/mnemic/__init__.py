"""A memory with a budget for language models."""

__version__ = "0.1.0"
