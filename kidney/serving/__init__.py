"""The server: HTTP for programs, a page for people. No torch."""
