"""Doors to one memory for other programs: HTTP, an OpenAI-compatible proxy, MCP, and the client for them."""
