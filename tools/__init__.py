"""What developers run: robustness tests of hours, figures of the documentation."""
