"""Measuring: tasks with their official protocols, one runner, honest statistics."""
