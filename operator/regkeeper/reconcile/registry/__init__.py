"""One pass over a Registry: its objects, its storage, its addresses, and what its status says of them."""
