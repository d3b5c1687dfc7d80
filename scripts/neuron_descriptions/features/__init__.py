"""Feature sources: which numbers of a model are described."""
