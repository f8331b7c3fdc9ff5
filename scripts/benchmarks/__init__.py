"""The parts of make bench, one module a station."""
