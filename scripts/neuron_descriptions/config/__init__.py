"""The configuration: sections with their documentation, and the reference made from them."""
