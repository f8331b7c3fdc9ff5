"""How a release gets to the instance: looked at before, written down after, taken back on failure."""
