"""Everything in the object store: client, bucket rules, event records, functions, roles."""
