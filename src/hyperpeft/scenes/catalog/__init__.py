"""Cards of benchmark scenes: where their files are, how to fetch and verify them."""
