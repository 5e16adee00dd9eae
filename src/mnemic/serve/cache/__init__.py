"""What a semantic cache is made of: what a question means, its category, and the fit of a policy."""
