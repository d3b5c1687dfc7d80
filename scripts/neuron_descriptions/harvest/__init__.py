"""One pass over the corpus: exemplars and statistics of every feature."""
