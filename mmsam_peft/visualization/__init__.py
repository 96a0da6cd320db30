"""Masks, overlays, panels."""
