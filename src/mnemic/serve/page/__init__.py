"""The web page of a memory at `/`: what is remembered, searched, answered, changed, forgotten and measured.

Every view is a page of its own that works without a script and without a network; a little script adds search
as one types. Nothing is set in style attributes or inline scripts, so the strictest policy of the guard holds.
"""

from mnemic.serve.page.views import routes

__all__ = ["routes"]
