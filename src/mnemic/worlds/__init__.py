"""Texts this project generates: seeded, endless, with their answers."""
