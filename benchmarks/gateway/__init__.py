"""What the gateway costs, beside a raw pass-through and the server behind it."""
