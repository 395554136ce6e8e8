"""Where a generation runs: model servers that speak the OpenAI API, their health and the choice among them."""
