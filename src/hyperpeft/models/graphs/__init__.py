"""A classifier on windows as an ONNX graph, and what executes it: no torch is needed."""
