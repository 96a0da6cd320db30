"""Attention, the ViT block, windows: no method, no encoder."""
