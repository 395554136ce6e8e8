"""Programs that keep the project honest; none of them is needed at run time."""
