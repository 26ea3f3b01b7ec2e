"""Work for a machine with an accelerator: prepared here, run there, records brought back."""
