"""Simulators and explainers trained on a run's own results."""
