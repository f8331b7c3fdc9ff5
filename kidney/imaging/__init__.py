"""Bytes to uint8 slices: the only way in which images enter, in training and in service."""
