"""Who may do what: scopes, keys, and the gate that every request of a closed server passes."""
