"""How a release gets to the instance: looked at before, noted after, taken back on failure."""
