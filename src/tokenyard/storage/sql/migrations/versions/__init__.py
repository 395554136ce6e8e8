"""The steps, in the order that each names by its predecessor."""
