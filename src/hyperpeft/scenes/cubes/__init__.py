"""A cube as a reader gives it: axes, scale, valid pixels, windows read from disk."""
