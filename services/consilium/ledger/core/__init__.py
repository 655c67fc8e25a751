"""Pure ledger: headers, certificates, execution of every transaction kind (rules L1 to L8)."""
