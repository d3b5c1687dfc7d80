"""`make bench-gpu`: what a GPU does for each stage, and whether it does it exactly, from this checkout alone."""
