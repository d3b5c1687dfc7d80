"""Candidate descriptions: evidence into prompts, answers into descriptions."""
