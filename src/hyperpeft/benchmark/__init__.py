"""A grid of runs: expanded, validated, computed once, whatever is killed on the way."""
