"""Explainers: ways to have a language model answer prompts, one file each behind one interface."""
