"""One room per group of endpoints; each module owns one `router`."""
