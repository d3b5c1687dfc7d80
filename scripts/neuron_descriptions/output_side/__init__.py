"""What neurons write: the tokens that they make more and less likely."""
