"""A finished run for others."""
