"""Objects by prompts: boxes, points and earlier masks, in programs and files."""
