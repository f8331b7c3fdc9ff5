"""Bytes to uint8 slices: the one door through which pictures enter, in training and in service."""
