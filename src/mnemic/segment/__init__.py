"""Where one memory ends and the next begins: cuts of texts and of any stream, as spans that tile it."""
