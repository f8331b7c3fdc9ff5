"""Figures of notebooks, by matplotlib: colours that colour-blind readers tell apart."""
