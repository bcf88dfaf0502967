"""Everything in Redis: intake, trigger matching, publishing, the ledger, logs, counters."""
