"""Model servers of other makes, each a process of its own that keeps the contract of ours."""
