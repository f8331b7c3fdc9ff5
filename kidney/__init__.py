"""Kidney Tumor Identification System: CT slices in, calibrated answers and their evidence out."""
