"""privrobust: privacy, robustness and utility of noisy median and sign SGD, measured together."""
