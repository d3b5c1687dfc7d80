"""Simulators: from a description and a text to predicted activations."""
