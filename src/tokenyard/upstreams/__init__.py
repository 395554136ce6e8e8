"""Where a generation runs: model servers, their health, and the choice among them."""
