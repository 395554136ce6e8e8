"""The words that all rooms share: ids, messages, usage, money, reasons and errors."""
