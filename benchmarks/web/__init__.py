"""What the page costs a browser: script per update, long threads, the first load."""
