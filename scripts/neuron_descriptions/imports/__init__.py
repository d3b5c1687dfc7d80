"""Exemplars that others published, instead of a harvest."""
