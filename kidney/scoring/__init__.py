"""Archives of slices to tables of answers, on one machine or many. No torch."""
