"""What developers run: tests of robustness, work for an accelerator, parts of the documentation."""
