"""One run, from configuration to a folder, and a folder back to a model."""
