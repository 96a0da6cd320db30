"""An adapter as a folder that others can find and trust."""
