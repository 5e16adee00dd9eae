"""How the nearest memories are found: by their words, by their vectors, by coarser keys in front of them."""
