"""Pure arithmetic of money: pricing, budgets, reservations."""
