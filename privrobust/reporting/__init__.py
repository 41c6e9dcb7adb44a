"""What people see of a store: tables, figures, the report, and the summaries that they share."""
