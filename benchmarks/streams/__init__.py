"""What a streamed event costs on its way through the log, beside the plain way of doing it."""
