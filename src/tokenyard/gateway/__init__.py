"""The HTTP and WebSocket face: who calls, how much they may, and what bytes go back."""
