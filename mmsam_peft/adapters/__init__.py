"""Adapter files: the format, and whether a file belongs to a model."""
