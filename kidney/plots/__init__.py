"""Figures of notebooks, by matplotlib: colours that colour-blind readers tell apart."""

import warnings

# tqdm, which others import, asks for widgets in red above the first table of a notebook.
warnings.filterwarnings("ignore", message="IProgress not found")
