"""What compares and measures."""
