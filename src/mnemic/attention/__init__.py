"""Which positions attention looks at, and where it believes they are."""
