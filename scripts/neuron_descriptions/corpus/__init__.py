"""The text that the subject reads: documents fetched, rendered, cut into sequences."""
