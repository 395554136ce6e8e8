"""How long the stores keep what has ended."""

# An expired web session is still found for this long, so that the page can say that it expired.
SESSION_KEPT_SECONDS = 30 * 86_400.0
