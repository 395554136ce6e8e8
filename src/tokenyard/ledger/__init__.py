"""What it costs: price book, reservations before the work, settled usage after it."""
