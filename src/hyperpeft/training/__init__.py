"""The classifier, the training loop, and what they need."""
