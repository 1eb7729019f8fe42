"""Networks and estimators in files that hold no code."""
