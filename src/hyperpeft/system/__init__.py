"""Files, locks, memory and text: what knows nothing of scenes or models."""
