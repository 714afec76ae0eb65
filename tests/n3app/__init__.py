"""A backend of the shape that N3 builds, written for these tests: see main.py."""
