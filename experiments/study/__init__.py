"""The study of the suite's own questions: what each claims, tabulates and draws from its runs."""
