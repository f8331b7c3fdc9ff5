"""What make load and make bench do to a real server."""
