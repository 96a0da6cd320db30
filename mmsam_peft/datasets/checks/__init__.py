"""Inspectors look at data sets; a data set imports the words for its problems (``problems.py``),
never its inspector."""
